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
            "absorbing": "gencore.processes.absorbing:Absorbing",
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
            "rf-solver": "gencore.samplers.rf_solver:rf_solver",
            "bdia": "gencore.samplers.bdia:BDIA",
            "ancestral": "gencore.samplers.masked:MaskedAncestral",
            "tweedie": "gencore.samplers.tweedie:Tweedie",
            "confidence": "gencore.samplers.confidence:Confidence",
            "block": "gencore.samplers.blockwise:Blockwise",
            "sliding": "gencore.samplers.sliding:Sliding",
        },
        "interceptor": {
            "taylorseer": "gencore.interceptors.taylorseer:TaylorSeer",
            "reuse": "gencore.interceptors.reuse:reuse",
            "delta-dit": "gencore.interceptors.delta_dit:DeltaDiT",
            "first-block": "gencore.interceptors.first_block:FirstBlock",
        },
        "attention": {"sdpa": "gencore.attend:sdpa", "math": "gencore.attend:math"},
        "golden": {
            "bdia": "gencore.testing.systems.bdia:adapter",
            "delta-dit": "gencore.testing.systems.delta_dit:adapter",
            "rf-solver": "gencore.testing.systems.rf_solver:adapter",
        },
        "guidance": {"cfg": "gencore.guidance:ClassifierFree"},
        "mask": {"mixture": "gencore.masks.mixture:Mixture"},
        "objective": {
            "flow": "gencore.objectives.flow:FlowMatching",
            "denoising": "gencore.objectives.denoising:Denoising",
            "known-region": "gencore.objectives.known_region:KnownRegion",
            "masked-diffusion": "gencore.objectives.masked_diffusion:MaskedDiffusion",
            "autoregressive": "gencore.objectives.autoregressive:Autoregressive",
            "noise-contrastive": "gencore.objectives.nce:NoiseContrastive",
        },
    },
    extras={
        "lightning": "gencore[train]",
        "tensorboard": "gencore[train]",
        "huggingface_hub": "gencore[hub]",
    },
)
