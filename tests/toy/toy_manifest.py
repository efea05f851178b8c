"""A modality as small as one can be: what the conformance suite is tried on, sound and broken."""

from __future__ import annotations

from gencore.manifest import Manifest, Option

manifest = Manifest(
    name="toy",
    summary="short signals of two classes",
    provides={
        "modality": {"toy": "toy_modality:Toy"},
        "tokenizer": {"toy": "toy_modality:Codec"},
        "sampler": {"toy-walk": "toy_sampler:Walk"},
        "preset": {"tiny": "toy_modality:tiny"},
    },
    options=(
        Option(name="label", type="int", many=True, help="0 or 1"),
        Option(name="known", type="path", help="signal that is kept where the mask is 0"),
        Option(name="mask", type="path", help="1 = made anew, 0 = kept"),
    ),
)
