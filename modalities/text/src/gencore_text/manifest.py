"""What gencore-text provides.  Standard library only."""

from __future__ import annotations

from gencore.manifest import Manifest, Option

manifest = Manifest(
    name="text",
    summary="masked diffusion language models with energy correction",
    provides={
        "modality": {"text": "gencore_text.modality:Text"},
        "tokenizer": {
            "numbers": "gencore_text.tokenizers.numbers:Numbers",
            "bytes": "gencore_text.tokenizers.bytes:Bytes",
            "alphabet27": "gencore_text.tokenizers.alphabet27:Alphabet27",
            "sentencepiece": "gencore_text.tokenizers.sentencepiece:SentencePiece",
            "hf-tokenizer": "gencore_text.tokenizers.hf:HFTokenizer",
        },
        "preset": {
            "kjv": "gencore_text.presets:kjv",
            "kjv-ar": "gencore_text.presets:kjv_ar",
            "kjv-nce": "gencore_text.presets:kjv_nce",
            "kjv-bytes": "gencore_text.presets:kjv_bytes",
            "bytes-tiny": "gencore_text.presets:tiny",
            "text8": "gencore_text.presets:text8",
            **{f"mdlm-{size}": f"gencore_text.presets:mdlm_{size}" for size in ("tiny", "small", "medium")},
        },
        "backbone": {
            "ddit": "gencore_text.backbones.ddit:DDiT",
            "causal-transformer": "gencore_text.backbones.causal:CausalTransformer",
            "sequence-energy": "gencore_text.backbones.energy:EnergyNet",
        },
        "importer": {
            "mdlm": "gencore_text.importers.mdlm:import_mdlm",
            "mdlm-ar": "gencore_text.importers.mdlm_ar:import_mdlm_ar",
            "edlm-energy": "gencore_text.importers.edlm_energy:import_edlm_energy",
        },
        "golden": {"edlm": "gencore_text.golden.edlm:adapter"},
    },
    options=(
        Option(name="prompt", type="str", help="what the text begins with; part of the result"),
        Option(name="suffix", type="str", help="what the text ends with"),
        Option(name="infill", type="str", help="text with blanks to fill in, 'the ___ of the ___'; ___12 is 12 tokens"),
        Option(
            name="blank",
            type="int",
            range="1 or more",
            help="tokens of a blank without a number (default: about a word)",
        ),
        Option(
            name="length",
            type="int",
            range="1 or more",
            help="tokens of the whole text; beyond the model's context, windows slide over it",
        ),
        Option(
            name="energy",
            type="str",
            default="none",
            help="ar, nce, none or a model's folder: correct the joint of tokens by candidates (EDLM)",
        ),
        Option(name="candidates", type="int", default=2, range="1 or more", help="drawn at each step, for --energy"),
        Option(
            name="effective",
            type="float",
            range="1..8 times the candidates",
            help="draw that many more until so many count (effective sample size)",
        ),
        Option(name="energy_window", type="str", default="1/0", help="start/end times at which the energy acts"),
        Option(name="energy_temperature", type="float", default=1.0, range="more than 0", help="divides the energy"),
        Option(name="known", type="path", help="text file whose tokens are kept where the mask is 0"),
        Option(name="mask", type="path", help="file of 0 (kept) and 1 (made anew), one a token of the known text"),
    ),
    default="gencore_text:default/kjv",
    extras={
        "sentencepiece": "gencore-text",
        "tokenizers": "gencore-text[hf]",
        "datasets": "gencore-text[data]",
    },
)
