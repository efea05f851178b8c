"""What gencore-robot provides.  Standard library only."""

from __future__ import annotations

from gencore.manifest import Manifest

manifest = Manifest(
    name="robot",
    summary="diffusion policies for robots: RDT in gymnasium",
    provides={
        "backbone": {"rdt": "gencore_robot.backbones.rdt:RDT"},
        "tokenizer": {"chunks": "gencore_robot.tokenizer:Chunks", "action-codec": "gencore_robot.codec:ActionCodec"},
        "conditioner": {
            "observation": "gencore_robot.conditioning.observation:Observation",
            "proprioception": "gencore_robot.conditioning.proprioception:Proprioception",
            "low-dim": "gencore_robot.conditioning.lowdim:LowDim",
            "phrases": "gencore_robot.conditioning.phrases:PhraseList",
            "camera-frames": "gencore_robot.conditioning.frames:CameraFrames",
            "precomputed": "gencore_robot.conditioning.precomputed:Precomputed",
            "t5": "gencore_robot.conditioning.t5:T5Text",
            "siglip": "gencore_robot.conditioning.siglip:SigLIPViews",
        },
        "objective": {"action-denoising": "gencore_robot.objective:ActionDenoising"},
        "golden": {"rdt-1b": "gencore_robot.golden.rdt:adapter"},
    },
    extras={
        "gym_aloha": "gencore-robot[aloha]",
        "gym_pusht": "gencore-robot[pusht]",
        "pyarrow": "gencore-robot[data]",
        "av": "gencore-robot[video]",
        "transformers": "gencore-robot[encoders]",
    },
)
