"""Delta-DiT: a residual toy network whose blocks and states are recorded, with deltas, with features, and in full.

h_0 = z,   h <- h + tanh(h W1_l + c_l t) W2_l,   v = 0.8 (z - target) + 0.2 h_L
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gencore.backbone import Block, Trunk
from gencore.condition import Conditions
from gencore.context import Context, Interceptor
from gencore.denoised import Prediction
from gencore.denoiser import Denoiser
from gencore.interceptors.delta_dit import DeltaDiT
from gencore.noise import Recorded
from gencore.processes.flows import LinearFlow
from gencore.run import stream
from gencore.samplers.runge_kutta import euler
from gencore.spec import LatentSpec
from gencore.stream import Hidden, Mod, Stream
from gencore.testing.cases import Got, read_io


def adapter(case: Path, meta: dict[str, Any]) -> Got | None:
    """Cases of the toy network."""
    io = read_io(case)
    if "W1" not in io or "block_mask" not in io:
        return None
    given, got = meta["config"], {}
    for name in {key.partition(".")[0] for key in io if key.endswith(".states")}:
        cache: list[Interceptor] = [] if name == "full" else [
            DeltaDiT(given["N"], given["b"], given["Nc"], keep="one", residual=name == "delta")]  # fmt: skip
        net = Toy(io, len(io["times"]) - 1)
        spec = LatentSpec("b c h w", (1, *io["x_init"].shape))
        run = stream(Denoiser(net, LinearFlow(), {}, interceptors=cache), euler(), spec, io["times"],
                     Recorded([io["x_init"][None, None]]), dtype=torch.float64)  # fmt: skip
        got[f"{name}.states"] = torch.stack([io["x_init"], *(step.x[0, 0] for step in run)])
        got[f"{name}.block_out"] = torch.stack(net.last)
        if name == "delta":
            got["block_mask"] = net.ran
    return Got(got, inputs=("W1", "W2", "c", "target", "times", "x_init"))


class _Layer(Block):
    def __init__(self, net: Toy, layer: int) -> None:
        super().__init__()
        self.net, self.layer = (net,), layer

    def forward(self, h: Hidden, mod: Mod, ctx: Context) -> Hidden:
        (net,) = self.net
        net.ran[ctx.info.i, self.layer] = 1
        x, io = h["x"].x, net.io
        grown = torch.tanh(x @ io["W1"][self.layer] + io["c"][self.layer] * mod.t[..., None])
        return {**h, "x": h["x"]._replace(x=x + grown @ io["W2"][self.layer])}


class Toy(Trunk):
    """The network of a case; it notes which blocks ran at which step, and the last block's output."""

    def __init__(self, io: Mapping[str, Tensor], steps: int) -> None:
        super().__init__()
        self.io, self.prediction, self.ports = io, Prediction("velocity"), {}
        self.blocks = nn.ModuleList(_Layer(self, layer) for layer in range(len(io["W1"])))
        self.ran = torch.zeros(steps, len(self.blocks), dtype=torch.int64)
        self.last: list[Tensor] = []

    def embed(self, x_t: Tensor, t: Tensor, cond: Conditions, ctx: Context) -> tuple[Hidden, Mod]:
        time = t.reshape(-1, 1)
        return {"x": Stream(x_t[:, 0]), "z": Stream(x_t[:, 0])}, Mod(time, time, time)

    def head(self, h: Hidden, mod: Mod, ctx: Context) -> Tensor:
        self.last.append(h["x"].x[0])
        return (0.8 * (h["z"].x - self.io["target"]) + 0.2 * h["x"].x)[:, None]

    def config(self) -> dict[str, Any]:
        return {}
