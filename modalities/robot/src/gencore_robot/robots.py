"""A network of several robots, or of none yet, as the policy of one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gencore.conditioner import Conditioner
from gencore.errors import InputError
from gencore.pipeline import Pipeline
from gencore_robot.codec import ActionCodec
from gencore_robot.conditioning.observation import Observation
from gencore_robot.conditioning.proprioception import Proprioception
from gencore_robot.conditioning.robot_state import RobotState
from gencore_robot.embodiments.embodiment import Embodiment
from gencore_robot.encoders import seen
from gencore_robot.tokenizer import Chunks


def bound(pipe: Pipeline, embodiment: str | Path | Mapping[str, Any] | Embodiment) -> Pipeline:
    """`pipe` in the units of one robot: its state in, its actions out; the network is shared.

    Args:
        pipe: over chunks in the unified space, such as an imported RDT or a model of preset ``reach-two``.
        embodiment: as `ActionCodec` takes it.

    Raises:
        InputError: a pipeline that belongs to a robot already.
    """
    if not isinstance(pipe.tokenizer, Chunks):
        raise InputError("model", "one of a single robot", "one over the unified space")
    codec = ActionCodec(embodiment, pipe.tokenizer.horizon)
    return Pipeline(
        modality=pipe.modality, tokenizer=codec, conditioner=_of(pipe.conditioner, codec.embodiment),
        backbone=pipe.backbone, process=pipe.process, defaults=pipe.defaults, card=pipe.card, origin=pipe.origin,
    )  # fmt: skip


def executed(pipe: Pipeline) -> int | None:
    """The actions of a chunk before the next prediction, as the model's card says, or that of the model it was
    fine-tuned from; None where none says."""
    found = said(pipe.card, "execute")
    return None if found is None else int(found)


def said(card: Mapping[str, Any], key: str) -> Any:
    """What a card says under `key`, or the card of the model it was fine-tuned from; None where none says.

    >>> said({"its card": {"execute": 8}}, "execute")
    8
    """
    while key not in card and isinstance(card.get("its card"), Mapping):
        card = card["its card"]
    return card.get(key)


def _of(part: Conditioner, robot: Embodiment) -> Conditioner:
    if isinstance(part, Observation):
        return Observation([_of(inside, robot) for inside in part.parts])
    return RobotState(robot) if isinstance(part, Proprioception) else seen(part, robot.cameras)
