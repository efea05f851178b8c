"""What gencore-ecg provides.  Standard library only: listing plug-ins imports nothing else."""

from __future__ import annotations

from gencore.manifest import Manifest, Option

manifest = Manifest(
    name="ecg",
    summary="two seconds of electrocardiogram around a narrow or a wide beat, and continuation",
    provides={
        "modality": {"ecg": "gencore_ecg.modality:Ecg"},
        "tokenizer": {"ecg-millivolts": "gencore_ecg.tokenizer:Millivolts"},
        "preset": {"beats": "gencore_ecg.presets:beats", "tiny": "gencore_ecg.presets:tiny"},
    },
    options=(
        Option(
            name="label",
            type="str",
            many=True,
            help="the beat in the middle; one, or one a sample",
            range="narrow or wide",
        ),
        Option(name="known", type="path", help="table whose first column, in mV, is kept where the mask is 0"),
        Option(name="mask", type="path", help="table of one column: 1 = made anew, 0 = kept"),
    ),
    default="gencore_ecg:default/beats",
)
