"""Speed-ups of two sides at equal error, read from a curve through the points of each."""

from __future__ import annotations

import statistics
from dataclasses import asdict
from typing import Any

from curves import Point, front, speed_at
from pairs import Spread

LEVELS = (30.0, 35.0, 40.0)
"""Errors, as PSNR in dB, at which the curves are read."""


def equal_error(points: dict[str, Any]) -> dict[str, Any]:
    """Speed-ups of both sides at each of `LEVELS`, from the curve of each round; None where a side gets not so near.

    Returns:
        ``{"35 dB own same": {"ours", "theirs", "ratio"}}``, each the spread over the rounds.
    """
    rows: dict[str, Any] = {}
    shared = {text: row for text, row in points.items() if "theirs" in row["seconds"]}
    for level in LEVELS:
        for reference in ("own", "common"):
            theirs = _speeds(shared, "theirs", "theirs_uncached", level)
            base = "ours_uncached" if reference == "own" else "theirs_uncached"
            for which, settings in (("same", shared), ("all", points)):
                ours, name = _speeds(settings, "ours", base, level), f"{level:.0f} dB {reference} {which}"
                rows[name] = {"ours": _spread(ours), "theirs": _spread(theirs), "ratio": None}
                if ours is not None and theirs is not None:
                    rows[name]["ratio"] = _spread([a / b for a, b in zip(ours, theirs, strict=True)])
                print(f"caching against diffusers at {name}: {_told(rows[name]['ours'])}, theirs "
                      f"{_told(rows[name]['theirs'])}, ratio {_told(rows[name]['ratio'])}", flush=True)  # fmt: skip
    return rows


def _speeds(settings: dict[str, Any], side: str, base: str, level: float) -> list[float] | None:
    """The speed-up of `side` over `base` at `level`, round by round.

    Medians say which settings make the curve: the best of every round would be its luckiest.
    """
    near = "psnr" if side == "ours" else "peer_psnr"
    curve: dict[Point, list[float]] = {}
    for row in settings.values():
        timed = zip(row["seconds"][base], row["seconds"][side], strict=True)
        speeds = [uncached / cached for uncached, cached in timed]
        curve[row[near], statistics.median(speeds)] = speeds
    kept = [(point[0], curve[point]) for point in front(curve)]
    found = [speed_at([(psnr, speeds[k]) for psnr, speeds in kept], level) for k in range(len(kept[0][1]))]
    return None if None in found else [speed for speed in found if speed is not None]


def _spread(values: list[float] | None) -> dict[str, float] | None:
    return None if values is None else asdict(Spread.of(values))


def _told(spread: dict[str, float] | None) -> str:
    if spread is None:
        return "not so near"
    return f"{spread['median']:.2f} times ({spread['low']:.2f}..{spread['high']:.2f})"
