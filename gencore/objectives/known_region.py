"""Training with given cells: one network for every task that a mask can state (VDT, arXiv:2305.13311).

Each sample draws a mask.  The network sees clean data in given cells and noise elsewhere, one time for both, and the
loss of the base objective counts the generated cells.  What comes out serves `gencore.known` in mode "compose_input".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

from torch import Tensor

from gencore import components, plugins
from gencore.backbone import Backbone
from gencore.errors import InputError
from gencore.mask import MaskKind, draw_masks
from gencore.noise import Noise
from gencore.objective import Batch, Loss, Objective
from gencore.objectives.region import Reduction, Region


class Regional(Protocol):
    """An objective that can be confined to a region: `FlowMatching`, `Denoising`."""

    def terms(self, net: Backbone, batch: Batch, noise: Noise, region: Region) -> dict[str, Tensor]:
        """Per-sample terms (B,): "loss", which is minimised, and its parts."""
        ...

    def config(self) -> dict[str, Any]: ...


class KnownRegion(Objective):
    """`base` on masked samples.

    Args:
        base: the loss of generated cells.
        mask: the rule that masks a sample, `gencore.masks.mixture.Mixture` for several.
        reduction, bound: see `gencore.objectives.region.Region`.

    Raises:
        InputError: a base that cannot be confined to a region, or an unknown reduction.
    """

    def __init__(self, base: Regional, mask: MaskKind, *, reduction: Reduction = "masked_mean", bound: bool = True
                 ) -> None:  # fmt: skip
        if not hasattr(base, "terms"):
            raise InputError("base", type(base).__name__, "an objective with per-sample terms: flow, denoising")
        self.base, self.mask = base, mask
        self._whole = Region(reduction=reduction, bound=bound)

    def config(self) -> dict[str, Any]:
        return {"base": components.describe("objective", self.base), "mask": components.describe("mask", self.mask),
                "reduction": self._whole.reduction, "bound": self._whole.bound}  # fmt: skip

    @classmethod
    def from_config(cls, config: Mapping[str, Any], process: Any) -> KnownRegion:
        base = dict(config["base"])
        make = plugins.resolve("objective", base.pop("type"))
        settings = {**config, "base": make.from_config(base, process), "mask": components.build("mask", config["mask"])}
        return cls(**settings)

    def loss(self, phase: str, roles: Mapping[str, Backbone], batch: Batch, noise: Noise) -> Loss:
        generated = draw_masks(self.mask, tuple(batch.x0.shape[2:]), noise).to(batch.x0.device)
        scored = None if batch.valid is None else generated & batch.valid.reshape(len(batch.x0), 1, *batch.x0.shape[2:])
        region = replace(self._whole, generated=generated, scored=scored)
        means = {name: term.mean() for name, term in self.base.terms(roles["model"], batch, noise, region).items()}
        return Loss(means["loss"], {name: value.detach() for name, value in means.items()})
