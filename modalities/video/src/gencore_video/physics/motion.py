"""Discs that move freely, bounce off each other and off the walls of a box, without loss (pymunk, rigid bodies).

    x'' = (0, g),   collisions keep sum m v and sum m |v|^2,   m = pi r^2

Lengths are in units of the box's shorter side and times in frames, so one motion can be drawn at any size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gencore.errors import InputError, MissingDependency
from gencore.noise import uniforms

Array = NDArray[np.float64]

DISCS = 3
RADII, SPEEDS = (0.1, 0.15), (0.01, 0.04)
_SUBSTEPS, _TRIES = 8, 1000


@dataclass(frozen=True)
class Motion:
    """The paths of N discs over T frames.

    Args:
        positions: (T, N, 2) float64, (x, y) of each centre from the upper left corner, y down.
        radii: (N,) float64.
    """

    positions: Array
    radii: Array


def simulate(seed: int, frames: int, *, box: Sequence[float] = (1.0, 1.0), gravity: float = 0.0) -> Motion:
    """The motion of `seed`: three discs of random radii, places and velocities; a longer one starts with the shorter.

    Args:
        frames: T, 1 or more.
        box: (height, width) in units of the shorter side.
        gravity: downward acceleration, a side per frame squared; 0.004 makes discs of mean speed visibly fall.

    Raises:
        InputError: no frame, or gravity below 0.
        MissingDependency: pymunk is not installed.

    >>> simulate(7, 16).positions.shape
    (16, 3, 2)
    """
    try:
        import pymunk
    except ModuleNotFoundError as fault:
        raise MissingDependency("pymunk", "simulated clips", "gencore-video[physics]") from fault
    if frames < 1:
        raise InputError("frames", frames, "1 or more")
    if not 0 <= gravity < 1:
        raise InputError("gravity", gravity, "0 or more, below 1")
    height, width = box
    radii, places, velocities = _start(seed, (width, height))
    space = pymunk.Space()
    space.gravity = (0.0, gravity)
    # The engine lets bodies overlap by 0.1 of its length unit unless told otherwise.
    space.collision_slop = 1e-4
    corners = [(0.0, 0.0), (width, 0.0), (width, height), (0.0, height)]
    # Thick walls outside of the box: nothing tunnels, and the inner faces are the box itself.
    thick = 1.0
    for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1], strict=True):
        out_x, out_y = thick * np.sign(by - ay), -thick * np.sign(bx - ax)
        wall = pymunk.Segment(space.static_body, (ax + out_x, ay + out_y), (bx + out_x, by + out_y), thick)
        wall.elasticity = 1.0
        space.add(wall)
    bodies = []
    for radius, place, velocity in zip(radii, places, velocities, strict=True):
        body = pymunk.Body(math.pi * radius**2, math.inf)
        body.position, body.velocity = tuple(place), tuple(velocity)
        disc = pymunk.Circle(body, radius)
        disc.elasticity = 1.0
        space.add(body, disc)
        bodies.append(body)
    path = np.empty((frames, len(bodies), 2))
    for frame in range(frames):
        path[frame] = [body.position for body in bodies]
        for _ in range(_SUBSTEPS):
            space.step(1.0 / _SUBSTEPS)
    return Motion(path, radii)


def _start(seed: int, size: tuple[float, float]) -> tuple[Array, Array, Array]:
    """Radii (N,), places (N, 2) of discs that touch neither each other nor a wall, and velocities (N, 2)."""
    radii = _between(uniforms(seed, ("radii",), DISCS), RADII)
    for attempt in range(_TRIES):
        u = uniforms(seed, ("places", attempt), 2 * DISCS).reshape(DISCS, 2)
        places = radii[:, None] + u * (np.array(size) - 2 * radii[:, None])
        gaps = np.linalg.norm(places[:, None] - places, axis=-1) - radii[:, None] - radii
        if gaps[np.triu_indices(DISCS, 1)].min() > 0.01:
            break
    else:
        raise InputError("box", size, "sides of 1 or more")
    speed = _between(uniforms(seed, ("speeds",), DISCS), SPEEDS)
    angle = 2 * math.pi * uniforms(seed, ("angles",), DISCS)
    return radii, places, speed[:, None] * np.stack((np.cos(angle), np.sin(angle)), axis=1)


def _between(u: Array, bounds: tuple[float, float]) -> Array:
    return bounds[0] + (bounds[1] - bounds[0]) * u
