"""Training presets: functions ``preset(data, *, steps, batch, seed) -> Training``.

``transfer-cube`` is the packaged default.  ``two-way-reach`` has two ways to the goal, ``reach-named`` an instruction
that says which, ``reach-two`` two robots in one network; ``two-way-reach-regression`` is the same network without
diffusion.  ``pixels`` sees through the cameras of a team's own robot.  ``rdt-1b`` and ``rdt-170m`` are the published
networks (arXiv:2410.07864).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gencore.conditioner import Conditioner
from gencore.errors import InputError
from gencore.nn.init import seeded
from gencore.objective import Objective
from gencore.pipeline import Defaults, Pipeline
from gencore.process import Process
from gencore.processes.tables import TableProcess
from gencore.tokenizer import Tokenizer
from gencore.training.preset import Training
from gencore_robot.backbones.rdt import RDT, SIZES, STREAMS
from gencore_robot.codec import ActionCodec
from gencore_robot.conditioning.frames import CameraFrames
from gencore_robot.conditioning.lowdim import LowDim
from gencore_robot.conditioning.observation import Observation
from gencore_robot.conditioning.phrases import PhraseList
from gencore_robot.conditioning.precomputed import Precomputed
from gencore_robot.conditioning.proprioception import Proprioception
from gencore_robot.conditioning.robot_state import RobotState
from gencore_robot.embodiments.embodiment import Embodiment
from gencore_robot.embodiments.library import load
from gencore_robot.importers.rdt import SAMPLER, STEPS, assemble
from gencore_robot.objective import ActionDenoising
from gencore_robot.readers.pictures import roles
from gencore_robot.readers.tokens import require_tokens
from gencore_robot.regression import ActionRegression, Fading
from gencore_robot.slots import SLOTS
from gencore_robot.statistics import Statistics
from gencore_robot.tokenizer import Chunks

if TYPE_CHECKING:
    from gencore_robot.data import Episodes

DROP = {"frequency": 0.1, "indicator": 0.1, "state": 0.1, "language": 0.1}
VIEWS, SNR = [0.1] * 6, 40.0
"""Published rates of absent conditions, of views each on its own, and the signal to noise of states in dB."""
LARGEST = 128
"""Pixels along a side up to which ``pixels`` sees pictures as they are; larger ones are averaged down."""
_WARMUP, _AVERAGED = 0.03, 0.05


def _small(
    data: Episodes,
    robot: str | None,
    card: Mapping[str, Any],
    *,
    width: int,
    depth: int,
    heads: int,
    horizon: int,
    steps: int,
    batch: int,
    seed: int,
    phrases: bool = False,
    robots: bool = False,
    regression: bool = False,
    cameras: bool = False,
) -> Training:
    """A small RDT on low-dimensional observations; without cameras, a state of the environment is read where the data
    have one.

    Args:
        robot: of episodes that do not say theirs; None refuses those.
        card: what ``gencore info`` shows, and `execute`, the actions of a chunk before the next prediction.
        phrases: whether the instructions of the data are read, as one learned token each.
        robots: keep actions and states in the unified space, for several robots in one network; otherwise they are
            standardised for the one.
        cameras: see the robot's pictures by a small network that is trained with the rest, `Pictures`.
        regression: predict the mean action, see `gencore_robot.regression`.

    Raises:
        InputError: data of several robots without `robots`, or without instructions where those are read.
    """
    found = data.robots(None if robot is None else load(robot))
    if len(found) > 1 and not robots:
        raise InputError("data", ", ".join(one.name for one in found), "episodes of one robot",
                         "preset reach-two trains several in one network")  # fmt: skip
    tokenizer, state = _unified(horizon) if robots else _standardised(data, found[0], horizon)
    parts, streams = [state], dict[str, Any]()
    if cameras:
        parts.append(frames := _cameras(data, found[0]))
        streams[frames.name] = {"kind": "pictures", "views": frames.views}
    elif data.sees:
        parts.append(seen := _environment(data))
        streams[seen.name] = {"dims": seen.dims, "length": 1}
    if phrases:
        if not data.phrases:
            raise InputError("data", "episodes without instructions", "an instruction in each",
                             "gencore record writes those of an environment that names its target")  # fmt: skip
        parts.append(PhraseList(data.phrases))
        streams["language"] = {"kind": "phrases", "rows": len(data.phrases)}
    with seeded(seed):
        net = RDT(width=width, depth=depth, heads=heads, horizon=horizon, streams=streams, norm="rms", masked=True)
    process: Process
    objective: Objective
    if regression:
        process = fading = Fading()
        objective, defaults = ActionRegression(fading), Defaults("dpmpp", 1)
    else:
        process = table = TableProcess.named("squaredcos_cap_v2", 1000, single=True)
        objective, defaults = ActionDenoising(table), Defaults(SAMPLER, STEPS)
    pipeline = Pipeline(modality="robot", tokenizer=tokenizer, conditioner=Observation(parts), backbone=net,
                        process=process, defaults=defaults, card=card)  # fmt: skip
    return Training(
        pipeline=pipeline, objective=objective, steps=steps, batch=batch, seed=seed, optimizer="muon", lr=1.5e-3,
        warmup=max(1, round(_WARMUP * steps)), decay="cosine", weight_decay=0.01, betas=(0.9, 0.99), clip=1.0,
        ema=min(0.9999, 1 - 1 / max(1.0, _AVERAGED * steps)), drop={"language": 0.1} if phrases else 0.0,
    )  # fmt: skip


def _standardised(data: Episodes, robot: Embodiment, horizon: int) -> tuple[Tokenizer, Conditioner]:
    plain = ActionCodec(robot, horizon)
    read = [data.numbers(i) for i in range(len(data))]
    actions = torch.from_numpy(np.concatenate([one.action for one in read]))
    states = torch.from_numpy(np.concatenate([one.state for one in read]))
    codec = ActionCodec(robot, horizon, Statistics.of(plain.encode_actions(actions).numpy()))
    return codec, RobotState(robot, Statistics.of(plain.encode_state(states).value.numpy()))


def _unified(horizon: int) -> tuple[Tokenizer, Conditioner]:
    return Chunks(horizon), Proprioception()


def _environment(data: Episodes) -> LowDim:
    rows = np.concatenate([one.env_state for i in range(len(data)) if (one := data.numbers(i)).env_state is not None])
    moments = Statistics.of(rows)
    mean, std = moments.standard()
    return LowDim("env_state", rows.shape[1], mean=mean.tolist(), std=std.tolist())


def _cameras(data: Episodes, robot: Embodiment) -> CameraFrames:
    first = data.episodes[0]
    seen = roles(robot, first.pictures)
    height, width, _ = first.pictures[robot.cameras[seen[0]]](first.start).shape
    factor = -(-max(height, width) // LARGEST)
    return CameraFrames(len(seen), roles=seen, size=(height // factor, width // factor))


def transfer_cube(data: Episodes, *, steps: int | None = None, batch: int | None = None, seed: int = 0) -> Training:
    """The packaged default: a cube handed from one arm to the other, joints and the pose of the cube in, 1 s of joint
    targets out, half of which is executed."""
    card = {"execute": 25, "environments": ["gencore/AlohaTransferCube-v0"]}
    return _small(data, "aloha-gym", card, width=160, depth=4, heads=5, horizon=50, steps=steps or 4000,
                  batch=batch or 32, seed=seed)  # fmt: skip


def reach(data: Episodes, *, steps: int | None = None, batch: int | None = None, seed: int = 0,
          environments: tuple[str, ...] = ("gencore/TwoWayReach-v0",), width: int = 64, depth: int = 4,
          **how: Any) -> Training:  # fmt: skip
    """The two-way reach: 16 actions of which 8 are executed.

    Args:
        environments: what the card names.
        how: of `_small`: phrases, robots, regression.
    """
    card = {"execute": 8, "environments": list(environments)}
    return _small(data, "reach", card, width=width, depth=depth, heads=4, horizon=16, steps=steps or 2000,
                  batch=batch or 64, seed=seed, **how)  # fmt: skip


reach_regression = partial(reach, regression=True)
reach_named = partial(reach, phrases=True, environments=("gencore/TwoWayReachNamed-v0",))
reach_two = partial(reach, robots=True, environments=("gencore/TwoWayReach-v0", "gencore/TwoWayReachVelocity-v0"))


def pixels(data: Episodes, *, steps: int | None = None, batch: int | None = None, seed: int = 0, width: int = 144,
           depth: int = 4, card: Mapping[str, Any] | None = None) -> Training:  # fmt: skip
    """A robot of a team's own that sees: state and pictures in, 16 actions out of which 8 are executed, and the
    instruction where the data have several.

    Args:
        card: what ``gencore info`` shows beside; ``environments`` makes a packaged policy be found.

    Raises:
        InputError: data of several robots, that do not say their robot, or without pictures of its cameras.
    """
    return _small(data, None, {"execute": 8, **(card or {})}, width=width, depth=depth, heads=4, horizon=16,
                  steps=steps or 10_000, batch=batch or 32, seed=seed, cameras=True,
                  phrases=len(data.phrases) > 1)  # fmt: skip


def tiny(data: Episodes, *, steps: int | None = None, batch: int | None = None, seed: int = 0) -> Training:
    """A reach policy small enough for tests."""
    return reach(data, steps=steps or 20, batch=batch or 8, seed=seed, width=16, depth=2)


def _published(size: str, data: Episodes, *, steps: int | None = None, batch: int | None = None, seed: int = 0
               ) -> Training:  # fmt: skip
    """AdamW at a constant 1e-4, batch 32, bf16; the published loss, which counts every slot, conditions missing now and
    then, and noise on the state.

    Args:
        data: episodes that say their robot, with tokens of the instruction and of the pictures, encoded beforehand,
            and of an empty instruction and a picture without content (`gencore_robot.readers.tokens`).

    Raises:
        InputError: episodes without those tokens, or without their robot.
    """
    absent = {"language": 1, "images": len(VIEWS)}
    require_tokens(data.episodes, [Precomputed(name, part["dims"], part["length"], absent=absent[name])
                                   for name, part in STREAMS.items()])  # fmt: skip
    mean, std = _moments(data)
    with seeded(seed):
        settings: dict[str, Any] = {**SIZES[size]}
        net = RDT(**settings, streams=STREAMS)
    process = TableProcess.named("squaredcos_cap_v2", 1000, single=True)
    objective = ActionDenoising(process, minimise="diluted", state_std=std, snr=SNR, view_rates=VIEWS)
    return Training(
        pipeline=assemble(net, process, card={}, mean=mean, absent=absent), objective=objective,
        steps=steps or 150_000, batch=batch or 32, seed=seed, lr=1e-4, drop=DROP, precision="bf16",
    )  # fmt: skip


def _moments(data: Episodes) -> tuple[list[float], list[float]]:
    """Mean and deviation of the states in the unified space, of each slot over the robots that have it; 0 elsewhere."""
    robots, rows = data.robots(), dict[str, list[np.ndarray]]()
    for i, episode in enumerate(data.episodes):
        if episode.embodiment is not None:
            rows.setdefault(episode.embodiment.name, []).append(data.numbers(i).state)
    count, total, squares = np.zeros((3, SLOTS))
    for robot in robots:
        codec = ActionCodec(robot, 1)
        state = codec.encode_state(torch.from_numpy(np.concatenate(rows[robot.name]))).value.numpy()
        count += len(state) * codec.state.valid.numpy()
        total, squares = total + state.sum(0), squares + (state**2).sum(0)
    mean = total / np.maximum(count, 1)
    return mean.tolist(), np.sqrt(np.maximum(squares / np.maximum(count, 1) - mean**2, 0.0)).tolist()


rdt_1b, rdt_170m = (partial(_published, size) for size in ("1b", "170m"))
