"""What the core itself provides, declared in the same way as any plug-in.  Standard library only."""

from __future__ import annotations

from gencore.manifest import Manifest

manifest = Manifest(
    name="core",
    summary="the parts shared by every modality",
    provides={
        "backbone": {"dit": "gencore.backbones.dit:DiT"},
        "process": {
            "table": "gencore.processes.tables:TableProcess",
            "linear-flow": "gencore.processes.flows:LinearFlow",
            "trig-flow": "gencore.processes.flows:TrigFlow",
            "vp": "gencore.processes.flows:VariancePreserving",
        },
        "conditioner": {
            "unconditional": "gencore.conditioner:Unconditional",
            "labels": "gencore.conditioners.label:Labels",
        },
        "sampler": {
            "ddpm": "gencore.samplers.ancestral:Ancestral",
            "ddim": "gencore.samplers.ddim:DDIM",
            "dpmpp": "gencore.samplers.dpm_solver:DPMSolver",
            "euler": "gencore.samplers.runge_kutta:euler",
            "heun": "gencore.samplers.runge_kutta:heun",
            "runge-kutta": "gencore.samplers.runge_kutta:RungeKutta",
            "dopri5": "gencore.samplers.dopri5:Dopri5",
            "sde": "gencore.samplers.sde:StochasticInterpolant",
        },
        "attention": {"sdpa": "gencore.attend:sdpa", "math": "gencore.attend:math"},
        "guidance": {"cfg": "gencore.guidance:ClassifierFree"},
        "objective": {
            "flow": "gencore.objectives.flow:FlowMatching",
            "denoising": "gencore.objectives.denoising:Denoising",
        },
    },
    extras={
        "lightning": "gencore[train]",
        "tensorboard": "gencore[train]",
        "huggingface_hub": "gencore[hub]",
    },
)
