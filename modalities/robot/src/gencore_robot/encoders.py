"""Encoders for a network that was given tokens until now, such as an imported RDT."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

from gencore.conditioner import Conditioner
from gencore.errors import InputError
from gencore.pipeline import Pipeline
from gencore_robot.conditioning.instructions import EncodedInstructions
from gencore_robot.conditioning.observation import Observation
from gencore_robot.conditioning.siglip import SigLIPViews
from gencore_robot.conditioning.t5 import T5Text
from gencore_robot.embodiments.embodiment import ROLES

GRID = (2, len(ROLES))
"""Frames and cameras of a stream whose grid says no more than a length: as published."""


def encoded(pipe: Pipeline, *, language: str | Conditioner | None = None, vision: str | Conditioner | None = None
            ) -> Pipeline:  # fmt: skip
    """`pipe`, told sentences and pictures instead of tokens; the network is shared.

    Args:
        language: for the stream ``language``: ``t5:MODEL`` (hub id or folder), ``file:PATH`` (see
            `EncodedInstructions`), or a conditioner that fills it; None keeps what there is.
        vision: for the stream ``images``: ``siglip:MODEL``, or a conditioner.

    Raises:
        InputError: another encoder, a network without that stream, or tokens of another width.
    """
    parts = list(pipe.conditioner.parts) if isinstance(pipe.conditioner, Observation) else [pipe.conditioner]
    streams: Mapping[str, Any] = pipe.backbone.config().get("streams", {})
    for option, asked, name in (("language", language, "language"), ("vision", vision, "images")):
        if asked is None:
            continue
        places = [i for i, part in enumerate(parts) if getattr(part, "name", None) == name]
        if not places or name not in streams:
            raise InputError(option, asked, f"nothing: this network has no stream '{name}'")
        parts[places[0]] = asked if isinstance(asked, Conditioner) else _made(option, asked, streams[name])
    return Pipeline(
        modality=pipe.modality, tokenizer=pipe.tokenizer, conditioner=Observation(parts), backbone=pipe.backbone,
        process=pipe.process, defaults=pipe.defaults, card=pipe.card, origin=pipe.origin,
    )  # fmt: skip


def seen(part: Conditioner, cameras: Mapping[str, str]) -> Conditioner:
    """`part` at a robot with these cameras, by role; pictures come in the order of `ROLES`."""
    roles = [role for role in ROLES if role in cameras]
    return part.seen_by(roles) if roles and isinstance(part, SigLIPViews) else part


def _made(option: str, asked: str, stream: Mapping[str, Any]) -> Conditioner:
    kind, _, value = asked.partition(":")
    if option == "language" and kind == "t5" and value:
        return T5Text(value, stream["length"])
    if option == "language" and kind == "file" and value:
        part = EncodedInstructions(value)
        width = next(iter(part.sentences.values())).shape[1]
        longest = max(map(len, part.sentences.values()))
        if width != stream["dims"] or longest > stream["length"]:
            raise InputError(option, f"{value} of up to {longest} tokens of {width} numbers",
                             f"up to {stream['length']} of {stream['dims']}")  # fmt: skip
        return part
    if option == "vision" and kind == "siglip" and value:
        frames, cameras = _grid(stream)
        return SigLIPViews(frames * cameras, model=value, frames=frames)
    raise InputError(option, asked, "t5:MODEL or file:PATH" if option == "language" else "siglip:MODEL")


def _grid(stream: Mapping[str, Any]) -> tuple[int, int]:
    grid = stream.get("grid") or ()
    frames, cameras = grid[:2] if len(grid) == 3 else GRID
    if stream["length"] % prod((frames, cameras)):
        raise InputError("vision", f"a stream of {stream['length']} tokens", f"{frames} frames of {cameras} cameras")
    return frames, cameras
