"""What gencore-video provides.  Standard library only."""

from __future__ import annotations

from gencore.manifest import Manifest, Option

_TASKS = ("unconditional", "predict", "backward", "interpolate", "image-to-video", "random-frames", "complete")

manifest = Manifest(
    name="video",
    summary="video by mask: prediction, interpolation, completion and more from one model",
    provides={
        "modality": {"video": "gencore_video.modality:Video"},
        "tokenizer": {
            "frames": "gencore_video.tokenizers.frames:Frames",
            "per-frame": "gencore_video.tokenizers.per_frame:PerFrame",
            "clip-latents": "gencore_video.tokenizers.latents:ClipLatents",
        },
        "backbone": {"vdt": "gencore_video.backbone:VDT"},
        "preset": {
            "discs": "gencore_video.presets:discs",
            **{f"discs-{task}": f"gencore_video.presets:discs_{task.replace('-', '_')}" for task in _TASKS},
            "discs-framewise": "gencore_video.presets:discs_framewise",
            "vdt-s": "gencore_video.presets:vdt_s",
            "vdt-l": "gencore_video.presets:vdt_l",
        },
        "conditioner": {"constant-label": "gencore_video.conditioner:ConstantLabel"},
        "importer": {
            "vdt": "gencore_video.importers.vdt:import_vdt",
            "vdt-from-dit": "gencore_video.importers.dit:import_vdt_from_dit",
        },
        "golden": {"vdt": "gencore_video.golden.vdt:adapter"},
        "mask": {
            "unconditional": "gencore_video.masks.frames:Unconditional",
            "predict": "gencore_video.masks.frames:Predict",
            "backward": "gencore_video.masks.frames:Backward",
            "interpolate": "gencore_video.masks.frames:Interpolate",
            "image-to-video": "gencore_video.masks.frames:ImageToVideo",
            "random-frames": "gencore_video.masks.frames:RandomFrames",
            "complete": "gencore_video.masks.complete:Complete",
        },
    },
    options=(
        Option(
            name="task",
            type="str",
            many=True,
            help="what is kept and what is made, by name or name:key=value; one, or one a sample",
            range="predict, backward, interpolate, image-to-video, complete, random-frames, unconditional",
        ),
        Option(
            name="known",
            type="path",
            help="clip, folder of frames or picture to keep frames of: all frames, or just those that are kept",
        ),
        Option(name="mask", type="path", help="white = made anew, black = kept: a picture for all frames, or a clip"),
        Option(
            name="clip",
            type="int",
            help="number of a clip that comes with the package, in place of --known",
            range="0 or more",
        ),
        Option(
            name="frames",
            type="int",
            help="frames to make; the others are given (predict, backward). predict also "
            "makes more than the model holds, window after window",
            range="1 or more",
        ),
        Option(name="stride", type="int", help="every how many frames one is given (interpolate)", range="2 or more"),
        Option(name="index", type="int", help="the frame that is given (image-to-video)", default=0),
        Option(name="offset", type="int", help="first frame of the known clip that counts; below 0 from its end"),
        Option(
            name="fps",
            type="str",
            help="frames a second of what is written, exact; a known clip of another rate is resampled to it",
            range="above 0: 10, 12.5, 30000/1001",
        ),
        Option(name="fit", type="str", help="bring a known clip of another size to the model's", range="crop, stretch"),
    ),
    default="gencore_video:default/discs",
    extras={"pymunk": "gencore-video[physics]", "diffusers": "gencore-video[vae]", "webdataset": "gencore-video[data]"},
)
