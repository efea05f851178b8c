"""An episode in the unified space."""

from __future__ import annotations

import numpy as np
import torch

from gencore.errors import InputError
from gencore_robot.codec import ActionCodec
from gencore_robot.readers.episode import Episode


def encoded(episode: Episode, codec: ActionCodec) -> tuple[np.ndarray, np.ndarray]:
    """All states and actions of an episode in the unified space, float64 (T, 128) each.

    Raises:
        InputError: the episode cannot be read, is of another robot, or leaves its limits.
    """
    state, action = (torch.from_numpy(values) for values in episode.numbers())
    try:
        return codec.encode_state(state).value.numpy(), codec.encode_actions(action).numpy()
    except InputError as error:
        raise InputError(f"{episode.name}: {error.field}", error.given, error.accepted, error.hint) from error
