"""What gencore-robot provides.  Standard library only."""

from __future__ import annotations

from gencore.manifest import Manifest

manifest = Manifest(
    name="robot",
    summary="diffusion policies for robots: RDT in gymnasium",
    provides={},
    extras={
        "gym_aloha": "gencore-robot[aloha]",
        "gym_pusht": "gencore-robot[pusht]",
        "pyarrow": "gencore-robot[data]",
        "av": "gencore-robot[video]",
        "transformers": "gencore-robot[encoders]",
    },
)
