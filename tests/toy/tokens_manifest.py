"""A discrete modality as small as one can be: what the conformance suite is tried on where latents are tokens."""

from __future__ import annotations

from gencore.manifest import Manifest, Option

manifest = Manifest(
    name="tokens",
    summary="short words over four letters, of two classes",
    provides={
        "modality": {"tokens": "tokens_modality:Tokens"},
        "tokenizer": {"letters": "tokens_modality:Letters"},
        "backbone": {"mixer": "tokens_modality:Mixer"},
        "sampler": {"left-to-right": "tokens_sampler:LeftToRight"},
        "preset": {"tiny": "tokens_modality:tiny"},
    },
    options=(
        Option(name="label", type="int", many=True, help="0 or 1"),
        Option(name="known", type="path", help="word that is kept where the mask is 0"),
        Option(name="mask", type="path", help="1 = made anew, 0 = kept"),
        Option(name="initial", type="str", help="the letter it starts with"),
    ),
)
