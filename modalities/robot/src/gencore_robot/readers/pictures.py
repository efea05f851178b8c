"""Camera pictures beside the numbers of an episode, read when an item is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from gencore.errors import InputError
from gencore_robot.conditioning.frames import CameraFrames
from gencore_robot.embodiments.embodiment import ROLES, Embodiment

if TYPE_CHECKING:
    from gencore_robot.readers.episode import Episode


def roles(robot: Embodiment, there: Mapping[str, object]) -> list[str]:
    """The roles of the robot's cameras that are among `there`, in the order of `ROLES`.

    Raises:
        InputError: none.
    """
    found = [role for role in ROLES if robot.cameras.get(role) in there]
    if not found:
        raise InputError("data", f"pictures of {', '.join(there) or 'no camera'}",
                         f"of {', '.join(robot.cameras.values()) or 'cameras'}, the cameras of '{robot.name}'",
                         "cameras in embodiment.json names them by role")  # fmt: skip
    return found


def require_pictures(episodes: Sequence[Episode], part: CameraFrames, robot: Embodiment) -> None:
    """Refuse episodes without the pictures that `part` reads; a robot may lack a role, but not a camera it names.

    Raises:
        InputError: which episode, and which camera.
    """
    if not part.roles:
        raise InputError("camera-frames", "views without roles", "the role of each view, by which pictures are found")
    for episode in episodes:
        for camera in (robot.cameras[role] for role in part.roles if role in robot.cameras):
            if camera not in episode.pictures:
                raise InputError("data", f"{episode.name} without pictures of '{camera}'",
                                 f"{', '.join(episode.pictures) or 'no camera'} and '{camera}'")  # fmt: skip
        roles(robot, episode.pictures)


def pictures(episode: Episode, step: int, part: CameraFrames, robot: Embodiment) -> Tensor:
    """(views, 3, H, W) uint8 of a step, by the roles of `part`; black where the robot has no such camera.

    Raises:
        InputError: a picture that cannot be read, or pictures of several sizes.
    """
    read = [episode.pictures[robot.cameras[role]](step) if role in robot.cameras else None for role in part.roles]
    sizes = sorted({view.shape for view in read if view is not None})
    if len(sizes) > 1:
        raise InputError(f"{episode.name}: pictures", " and ".join(f"{h}x{w}" for h, w, _ in sizes), "one size")
    views = np.stack([np.zeros(sizes[0], np.uint8) if view is None else view for view in read])
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(views, -1, 1)))
