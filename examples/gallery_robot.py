"""The gallery's section of robot policies: what a packaged policy does in an environment that needs no other package.

The paths of all episodes are drawn; the figures of a policy whose environment needs a simulator come from its card.
"""

from __future__ import annotations

import html
from pathlib import Path

import numpy as np

import gencore
from gencore.errors import GencoreError
from gencore_robot.envs.paths import Paths
from gencore_robot.envs.reach import DISC, RADIUS, REACHED
from gencore_robot.packaged import fitting
from gencore_robot.rollout import rollout

ENV, CUBE, EPISODES = "gencore/TwoWayReach-v0", "gencore/AlohaTransferCube-v0", 20
COLOURS = {0: "#1f77b4", 1: "#ff7f0e", -1: "#d62728"}


def section(folder: Path, seed: int) -> str:
    """Play `EPISODES` episodes, draw where they went to ``robot.svg``, and describe what came out.

    Raises:
        GencoreError: no packaged policy fits.
    """
    pipe, paths = gencore.load("robot", fitting(ENV)), Paths()
    found = rollout(pipe, ENV, episodes=EPISODES, num_envs=EPISODES, seed=seed, watch=paths)
    (folder / "robot.svg").write_text(drawn(paths))
    told, (low, high) = found.as_data(), found.interval
    facts = {
        "success": f"{len(told['successes'])} of {EPISODES} ({100 * low:.0f} to {100 * high:.0f} %)",
        "ways": f"left {paths.reached.count(0)}, right {paths.reached.count(1)}, neither {paths.reached.count(-1)}",
        "a prediction for all": f"{told['latency_ms']['p50']:.0f} ms (p95 {told['latency_ms']['p95']:.0f} ms)",
        "seeds": f"{seed}..{seed + EPISODES - 1}",
        "again": f"gencore rollout robot --env {ENV} --episodes {EPISODES} --num-envs {EPISODES} --seed {seed}",
        "measured over more": pipe.card.get("in words", ""),
        "in a simulator": _cube(),
    }
    rows = "".join(f"<tr><th>{html.escape(k)}</th><td>{html.escape(v)}</td></tr>" for k, v in facts.items() if v)
    title, summary = pipe.card.get("title", "robot"), pipe.card.get("summary", "")
    return (f"<h2>robot: {html.escape(title)}</h2><p>{html.escape(summary)}</p>"
            f'<p><img src="robot.svg" alt="paths of {EPISODES} episodes"></p><table>{rows}</table>')  # fmt: skip


def drawn(paths: Paths) -> str:
    """An SVG: the disc grey, the targets green, a line an episode coloured by the side it arrived on."""
    shapes = [_circle(DISC, RADIUS, "#bbb")]
    shapes += [_circle(target, REACHED, "#2ca02c", 0.15) for pair in paths.targets for target in pair]
    for points, reached in zip(paths.points, paths.reached, strict=True):
        line = " ".join(f"{x:.3f},{-y:.3f}" for x, y in points)
        shapes.append(f'<polyline points="{line}" fill="none" stroke="{COLOURS[reached]}" stroke-width=".008"/>')
    return ('<svg xmlns="http://www.w3.org/2000/svg" viewBox="-1 -1 2 2" width="480" height="480">'
            + "".join(shapes) + "</svg>\n")  # fmt: skip


def _circle(centre: np.ndarray, radius: float, colour: str, opacity: float = 1.0) -> str:
    return f'<circle cx="{centre[0]:.3f}" cy="{-centre[1]:.3f}" r="{radius}" fill="{colour}" opacity="{opacity}"/>'


def _cube() -> str:
    try:
        return gencore.load("robot", fitting(CUBE)).card.get("in words", "")
    except GencoreError:
        return ""
