"""What gencore-robot provides.  Standard library only."""

from __future__ import annotations

from gencore.manifest import Manifest, Option

manifest = Manifest(
    name="robot",
    summary="diffusion policies for robots: RDT in gymnasium",
    provides={
        "modality": {"robot": "gencore_robot.modality:Robot"},
        "backbone": {"rdt": "gencore_robot.backbones.rdt:RDT"},
        "tokenizer": {"chunks": "gencore_robot.tokenizer:Chunks", "action-codec": "gencore_robot.codec:ActionCodec"},
        "conditioner": {
            "observation": "gencore_robot.conditioning.observation:Observation",
            "robot-state": "gencore_robot.conditioning.robot_state:RobotState",
            "proprioception": "gencore_robot.conditioning.proprioception:Proprioception",
            "low-dim": "gencore_robot.conditioning.lowdim:LowDim",
            "phrases": "gencore_robot.conditioning.phrases:PhraseList",
            "camera-frames": "gencore_robot.conditioning.frames:CameraFrames",
            "precomputed": "gencore_robot.conditioning.precomputed:Precomputed",
            "encoded-instructions": "gencore_robot.conditioning.instructions:EncodedInstructions",
            "t5": "gencore_robot.conditioning.t5:T5Text",
            "siglip": "gencore_robot.conditioning.siglip:SigLIPViews",
        },
        "process": {"fading": "gencore_robot.regression:Fading"},
        "objective": {
            "action-denoising": "gencore_robot.objective:ActionDenoising",
            "action-regression": "gencore_robot.regression:ActionRegression",
        },
        "preset": {
            "transfer-cube": "gencore_robot.presets:transfer_cube",
            "two-way-reach": "gencore_robot.presets:reach",
            "two-way-reach-regression": "gencore_robot.presets:reach_regression",
            "reach-named": "gencore_robot.presets:reach_named",
            "reach-two": "gencore_robot.presets:reach_two",
            "pixels": "gencore_robot.presets:pixels",
            "reach-tiny": "gencore_robot.presets:tiny",
            "rdt-1b": "gencore_robot.presets:rdt_1b",
            "rdt-170m": "gencore_robot.presets:rdt_170m",
        },
        "importer": {"rdt": "gencore_robot.importers.rdt:import_rdt"},
        "command": {
            "rollout": "gencore_robot.commands.rollout",
            "record": "gencore_robot.commands.record",
        },
        "golden": {"rdt-1b": "gencore_robot.golden.rdt:adapter"},
    },
    options=(
        Option(
            name="observation",
            type="path",
            help="what the policy is told, a .json object or an .npz: state, env_state, ...",
        ),
        Option(name="state", type="float", many=True, help="numbers of the robot's own state, in its units"),
        Option(name="env_state", type="float", many=True, help="numbers of the environment's state"),
        Option(name="prefix", type="path", help="actions that are already decided: the chunk begins with them"),
        Option(
            name="known", type="path", help="a chunk (.npz, .csv, .json) whose actions are kept where the mask is 0"
        ),
        Option(name="mask", type="path", help="a text of 0 (kept) and 1 (made), one an action"),
    ),
    default="gencore_robot:default/two-way-reach",
    extras={
        "gym_aloha": "gencore-robot[aloha]",
        "gym_pusht": "gencore-robot[pusht]",
        "pyarrow": "gencore-robot[data]",
        "av": "gencore-robot[video]",
        "matplotlib": "gencore-robot[plot]",
        "transformers": "gencore-robot[encoders]",
    },
)
