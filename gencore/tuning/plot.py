"""The Pareto front of an audit as a picture: one HTML file with an inline SVG, which needs nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path

from gencore.errors import InputError
from gencore.media.files import atomic_write, check_output
from gencore.tuning.audit import Audit, Point
from gencore.tuning.fidelity import UNITS

WIDTH, HEIGHT, EDGE = 720, 440, 56

_STYLE = (
    "svg{font:12px sans-serif;max-width:100%}.axis{stroke:#999}.all{fill:#bbb}.front{fill:#0a6;stroke:none}"
    "polyline{fill:none;stroke:#0a6}.budget{stroke:#c40;stroke-dasharray:5}"
)


def check_plot(path: str | Path, *, force: bool = False) -> Path:
    """`path` after checking, before any work, that a plot may be written there.

    Raises:
        InputError: a suffix other than .html, or as `gencore.media.files.check_output`.
    """
    path = Path(path)
    if path.suffix != ".html":
        raise InputError("--plot", path, "an .html file")
    return check_output(path, force)


def write_plot(path: str | Path, audited: Audit, budget: float, *, force: bool = False) -> Path:
    """Every point by its speed-up in block FLOPs and its worst sample; pointing at one names its setting.

    Raises:
        InputError: as `check_plot`.
    """
    path = check_plot(path, force=force)
    drawn = "\n".join(_svg(audited, budget))
    with atomic_write(path, "w", force) as file:
        file.write(f"<!doctype html><meta charset=utf-8><title>Caches</title><style>{_STYLE}</style>\n{drawn}\n")
    return path


def _svg(audited: Audit, budget: float) -> Iterator[str]:
    speeds = [1 / point.share for point in audited.points]
    nears = [*(point.fidelity.worst for point in audited.points), budget]
    right, low, high = max(*speeds, 1.5), min(nears), max(*nears, min(nears) + 1)

    def x(speed: float) -> float:
        return EDGE + (speed - 1) / (right - 1) * (WIDTH - 2 * EDGE)

    def y(near: float) -> float:
        return HEIGHT - EDGE - (near - low) / (high - low) * (HEIGHT - 2 * EDGE)

    def dot(point: Point, kind: str) -> str:
        label = f"{point.text}: {1 / point.share:.2f}x, {point.fidelity.worst:.1f} {audited.unit}"
        at = f'cx="{x(1 / point.share):.1f}" cy="{y(point.fidelity.worst):.1f}"'
        return f'<circle class="{kind}" {at} r="4"><title>{escape(label)}</title></circle>'

    yield f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" xmlns="http://www.w3.org/2000/svg">'
    yield f'<path class="axis" fill="none" d="M{EDGE} {EDGE}V{HEIGHT - EDGE}H{WIDTH - EDGE}"/>'
    for k in range(5):
        speed, near = 1 + (right - 1) * k / 4, low + (high - low) * k / 4
        yield f'<text x="{x(speed):.1f}" y="{HEIGHT - EDGE + 18}" text-anchor="middle">{speed:.2f}x</text>'
        yield f'<text x="{EDGE - 6}" y="{y(near) + 4:.1f}" text-anchor="end">{near:.1f}</text>'
    yield f'<text x="{WIDTH / 2}" y="{HEIGHT - 12}" text-anchor="middle">speed-up in block FLOPs</text>'
    measure = f"worst of {len(audited.recipe['seeds'])} samples, {UNITS[audited.unit]}"
    yield f'<text x="{EDGE}" y="{EDGE - 14}">{measure}</text>'
    yield f'<line class="budget" x1="{EDGE}" x2="{WIDTH - EDGE}" y1="{y(budget):.1f}" y2="{y(budget):.1f}"/>'
    line = " ".join(f"{x(1 / point.share):.1f},{y(point.fidelity.worst):.1f}" for point in audited.front)
    yield f'<polyline points="{line}"/>'
    yield from (dot(point, "front" if point in audited.front else "all") for point in audited.points)
    yield "</svg>"
