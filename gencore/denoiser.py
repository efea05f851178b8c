"""A network, its process, its conditions and guidance as one function of a noisy state: what samplers call."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from gencore.backbone import Backbone
from gencore.condition import Conditions, concatenated, nulled
from gencore.context import Chain, Context, Interceptor, StepInfo
from gencore.errors import GencoreError, InputError
from gencore.guidance import COND, Branch, Guidance
from gencore.noise import Noise
from gencore.process import Process

Transform = Callable[[Any, StepInfo, Noise], Any]
"""A prediction transform, ``transform(prediction, info, noise) -> prediction``: clamps, thresholds, temperature,
resampling; between the network and the sampler, for predictions of the kind the process has."""


class NotFinite(GencoreError, FloatingPointError):
    """A network or solver produced NaN or infinity."""


class Denoiser:
    """One run's view of a network.

    Args:
        net: the backbone.
        process: the forward process it was trained on.
        conditions: one value per port.
        guidance: how branches combine, or None for one conditional call.
        transforms: applied to every prediction, in order.
        interceptors: listen to sub-layers; their state lives here, so two runs never share it.
        request: names this run in interceptors' keys.
        attention: name of the attention back end.
        noise: what transforms draw from; needed where there are any.
        dtype: the network's, where states may be kept in a finer one.
        store: the interceptors' state, where denoisers of one run share it; by default a new one.
    """

    def __init__(
        self,
        net: Backbone,
        process: Process,
        conditions: Conditions,
        *,
        guidance: Guidance | None = None,
        transforms: Sequence[Transform] = (),
        interceptors: Sequence[Interceptor] = (),
        request: str = "",
        attention: str = "",
        noise: Noise | None = None,
        dtype: torch.dtype | None = None,
        store: dict[tuple[str, ...], Any] | None = None,
    ) -> None:
        self.net, self.process, self.conditions, self.guidance = net, process, conditions, guidance
        if transforms and noise is None:
            raise InputError("noise", "nothing", "a keyed source, which transforms draw from")
        self.dtype = dtype
        self.transforms, self.request, self.attention, self.noise = tuple(transforms), request, attention, noise
        self.interceptor = None if not interceptors else (
            interceptors[0] if len(interceptors) == 1 else Chain(interceptors))  # fmt: skip
        self.store = {} if store is None else store
        self.calls = 0
        self._memo: tuple[Tensor, Tensor, dict[str, Tensor]] | None = None

    def branches(self, x: Tensor, t: Tensor, info: StepInfo) -> dict[str, Tensor]:
        """The raw network output of every branch of a query, computed in one batch."""
        wanted = (COND,) if self.guidance is None else self.guidance.branches(t, info)
        outputs: dict[str, Tensor] = {}
        model_t = self.process.model_time(t)
        if self._memo is not None:
            # Tokens often stand still for a step, and a network without a time would say the same again.
            state, seen, outputs = self._memo
            if torch.equal(state, x) and torch.equal(seen, model_t) and outputs.keys() == {b.name for b in wanted}:
                return outputs
            outputs = {}
        for skip in dict.fromkeys(b.skip for b in wanted):
            group = [b for b in wanted if b.skip == skip]
            parts = [self._conditions(b) for b in group]
            n = len(group)
            ctx = Context(info, t=t, interceptor=self.interceptor, lanes=tuple(b.name for b in group),
                          request=self.request, store=self.store, skip=skip, attention=self.attention)  # fmt: skip
            cond = parts[0] if n == 1 else concatenated(parts)
            repeat = (n, *(1,) * (x.ndim - 1))
            shared = n == 1 or (model_t.ndim > 1 and len(model_t) == 1)
            time = model_t if shared else model_t.repeat(n, *(1,) * (model_t.ndim - 1))
            # A compiled network is one graph without interceptors; with one attached its eager forward runs.
            call = self.net if self.interceptor is None else self.net.forward
            shown = x if self.dtype is None or not x.is_floating_point() else x.to(self.dtype)
            out = call(shown if n == 1 else shown.repeat(repeat), time, cond, ctx)
            outputs.update(zip((b.name for b in group), out.pred.chunk(n), strict=True))
            self.calls += n
        if self.process.kind == "discrete" and self.interceptor is None:
            self._memo = (x, model_t, outputs)
        return outputs

    def _conditions(self, branch: Branch) -> Conditions:
        if branch.drop == ():
            return self.conditions
        return nulled(self.conditions, self.net.ports, branch.drop)

    def __call__(self, x: Tensor, t: Tensor, info: StepInfo = StepInfo(), x_t: Tensor | None = None,
                 t_x: Tensor | None = None) -> Any:  # fmt: skip
        """The prediction for state `x` at times `t`, (B,) or broadcasting against it, as the network's kind of it.

        Args:
            x_t, t_x: the free-running state and its times, where the network is shown one composed with known data.

        Raises:
            NotFinite: the network returned NaN or infinity.
        """
        outputs = self.branches(x, t, info)
        raw = next(iter(outputs.values()))
        if self.guidance is not None:
            # Only the prediction is guided; variance channels stay those of the first branch.
            parts = {name: self.net.prediction.split(output) for name, output in outputs.items()}
            guided = self.guidance.combine({name: value for name, (value, _) in parts.items()}, t, info)
            rest = next(iter(parts.values()))[1]
            raw = guided if rest is None else torch.cat([guided, rest], dim=1)
        # NaN and infinity both survive a maximum, which is one pass where isfinite takes four.
        if not math.isfinite(raw.detach().abs().max()):
            raise NotFinite(f"network output: not finite at step {info.index} {info.stage}".rstrip()
                            + "; check the weights, or use --dtype float32")  # fmt: skip
        state, times = x if x_t is None else x_t, t if t_x is None else t_x
        prediction = self.net.prediction.read(raw, state, self.process, times)
        for transform in self.transforms:
            assert self.noise is not None
            prediction = transform(prediction, info, self.noise)
        return prediction
