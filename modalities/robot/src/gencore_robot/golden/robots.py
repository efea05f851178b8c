"""The unified action space, an episode file, and the ensembling of chunks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gencore.testing.cases import Got
from gencore_robot import rotations
from gencore_robot.codec import ActionCodec
from gencore_robot.embodiments.library import load
from gencore_robot.executor.ensemble import TemporalEnsemble
from gencore_robot.executor.interpolate import substeps
from gencore_robot.readers.rdt import rdt_episode, sample, trajectory
from gencore_robot.statistics import Statistics
from gencore_robot.stretch import stretch

SMALL_MOVE = 1e-3
DECODED = (2 / 255, "JPEG decoders differ by up to 2 levels, as the recorded case says")
AVERAGE = "published code keeps this average but does not use it; averages here have a constant decay"


def results(case: Path, meta: Mapping[str, Any], io: Mapping[str, Tensor]) -> Got | None:
    """By what the case holds."""
    if "chunks" in io:
        return ensemble(meta["config"]["coeff"], io)
    if "agilex/qpos" in io:
        return unified(io)
    return episode(case, meta["config"]["chunk"], io)


def ensemble(decay: float, io: Mapping[str, Tensor]) -> Got:
    """The action of every step, and that of the first after a reset."""
    mean, chunks = TemporalEnsemble(decay), io["chunks"].double().numpy()
    actions = torch.stack([torch.from_numpy(mean.update(chunk)) for chunk in chunks])
    mean.reset()
    first = torch.from_numpy(mean.update(chunks[0]))
    return Got({"actions": actions, "formula": actions, "after_reset_first": first}, inputs=("chunks",))


def episode(case: Path, horizon: int, io: Mapping[str, Tensor]) -> Got:
    """Samples of the episode beside the case, its trajectory, and the statistics of that."""
    (path,) = sorted(case.glob("*.hdf5"))
    codec, found = ActionCodec("aloha-agilex", horizon), rdt_episode(path)
    state, action = trajectory(path, codec)
    moments = Statistics.of(state)
    got: dict[str, Any] = {
        "traj/state": state, "traj/action": action, "step_draw_low_high": np.array([found.start, found.length]),
        **{f"stat/state_{name}": getattr(moments, name) for name in ("mean", "std", "min", "max")},
    }  # fmt: skip
    for step in (name for name in io if name.endswith("/step_id")):
        prefix = step.removesuffix("step_id")
        got |= {f"{prefix}{key}": value for key, value in sample(path, int(io[step]), codec).items()}
    # Colours in the order of the camera are a view that runs backwards.
    tensors = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in got.items() if name in io}
    return Got(tensors, inputs=("*/step_id",), floors={"*/cam_*": DECODED})


def unified(io: Mapping[str, Tensor]) -> Got:
    """Two robots in and out of the unified space, rotations, and both interpolations."""
    agilex, panda = ActionCodec("aloha-agilex"), ActionCodec(maniskill(io))
    state = agilex.encode_state(io["agilex/qpos"])
    prev, cur, steps = (io[f"interp/{name}"].numpy() for name in ("prev", "cur", "steps"))
    got = {
        "agilex/state128": state.value,
        "agilex/mask": state.valid.double().expand_as(io["agilex/mask"]) if state.valid is not None else state.value,
        "agilex/action14": agilex.action.decode(io["action128"]),
        "agilex/indices": torch.tensor(agilex.action.slot),
        "agilex/state_scale": agilex.state.scale, "agilex/action_scale": agilex.action.scale,
        "maniskill/state128": panda.encode_state(io["maniskill/qpos"]).value,
        "maniskill/action8": panda.action.decode(io["action128"]),
        "maniskill/indices": torch.tensor(panda.action.slot),
        "rot6d/matrix": rotations.matrix_from_euler(io["rot6d/euler_xyz_extrinsic"]),
        "rot6d/ortho6d": rotations.matrix_to_6d(io["rot6d/matrix"]),
        "rot6d/recovered_matrix": rotations.matrix_from_6d(io["rot6d/noisy6d"]),
        "interp/out": torch.from_numpy(substeps(prev, cur, steps)),
        "interp/out_small_move": torch.from_numpy(substeps(prev, prev + SMALL_MOVE, steps)),
        "chunk_interp/out64": torch.from_numpy(stretch(io["chunk_interp/in16"].numpy(), 64)),
    }  # fmt: skip
    inputs = ("action128", "agilex/qpos", "maniskill/qpos", "maniskill/*_m??", "rot6d/euler_xyz_extrinsic",
              "rot6d/noisy6d", "interp/prev", "interp/cur", "interp/steps", "chunk_interp/in16")  # fmt: skip
    return Got(got, inputs=inputs, unused={"ema/*": AVERAGE})


def maniskill(io: Mapping[str, Tensor]) -> dict[str, Any]:
    """The packaged Panda with the recorded ranges: slot = 2 (v - min) / (max - min) - 1."""
    config = load("franka-maniskill").config()
    for what in ("state", "action"):
        low, high = (io[f"maniskill/{what}_{end}"].tolist() for end in ("min", "max"))
        config[what] = [
            {**entry, "scale": (b - a) / 2, "offset": (a + b) / 2}
            for entry, a, b in zip(config[what], low, high, strict=True)
        ]
    return config
