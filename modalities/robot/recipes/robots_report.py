"""The figures of the recipe as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gencore.media.files import atomic_write

Figures = Mapping[str, Any]

START, END = "<!-- figures -->", "<!-- end of figures -->"
TASKS = {"transfer-cube": "cube from one arm to the other", "two-way-reach": "two-way reach"}
POLICIES = {
    "policy": "**policy**, DPM-Solver++ in 5 steps", "ddpm": "the same, DDPM in 100 steps",
    "regression": "mean action of the same network", "expert": "scripted expert",
}  # fmt: skip
STAGES = {
    "reach-two": "200 episodes of the first robot and 20 of the second", "reach-few": "that, then the 20 alone",
    "reach-scratch": "the 20 alone", "reach-scratch-long": "the 20 alone",
}  # fmt: skip
FIRST_ROBOT, SECOND_ROBOT = "gencore/TwoWayReach-v0", "gencore/TwoWayReachVelocity-v0"
TOLD = {"right": "the target that counts", "wrong": "the other target", "without": "nothing"}


def success(figures: Figures | None) -> str:
    """Successes, and the interval of their rate in percent.

    >>> success({"successes": 45, "episodes": 50, "interval": [0.7864, 0.9565]})
    '45 of 50 (79 to 96 %)'
    """
    if figures is None:
        return ""
    low, high = (f"{100 * end:.0f}" for end in figures["interval"])
    return f"{figures['successes']} of {figures['episodes']} ({low} to {high} %)"


def sentences(name: str, figures: Figures) -> str:
    """What a reader of one paragraph should know about a packaged policy, good and bad."""
    policy, ddpm, times = figures["policy"], figures["ddpm"], figures["latency_ms"]
    said = [
        f"{TASKS[name].capitalize()}: {success(policy)} episodes succeed, of its scripted expert "
        f"{success(figures['expert'])}; a chunk takes {_number(times['p50'])} ms (p95 {_number(times['p95'])}) on one "
        f"busy core. DDPM in 100 steps: {success(ddpm)}, {'within' if within(policy, ddpm) else 'outside'} the "
        f"interval, {_number(figures['latency_ratio'])} times the time of a chunk."
    ]
    if "left" in policy:
        said.append(f"It goes left {policy['left']} times and right {policy['right']} times.")
    if twin := figures.get("regression"):
        said.append(f"The mean action of the same network succeeds in {success(twin)}.")
    return " ".join(said)


def within(first: Figures, second: Figures) -> bool:
    """Whether the interval of one success rate meets the other's.

    >>> within({"interval": [0.2, 0.4]}, {"interval": [0.5, 0.6]})
    False
    """
    (low, high), (other_low, other_high) = first["interval"], second["interval"]
    return low <= other_high and other_low <= high


def table(figures: Figures) -> str:
    """All figures as Markdown."""
    parts = [f"{sentences(name, figures[name])}\n\n{_policies(figures[name])}" for name in TASKS if name in figures]
    if two := figures.get("reach-two"):
        parts.append(_robots(two))
    if told := figures.get("reach-named"):
        parts.append(_told(told))
    parts.append(f"Episodes have the seeds {figures['seeds from']:,} on; intervals are Wilson's of 95 %.")
    if missing := figures.get("missing"):
        parts.append(f"Not measured, for want of a run: {', '.join(missing)}.")
    return "\n\n".join(parts) + "\n"


def write_between(path: Path, text: str) -> None:
    """Replace what stands between the two marks of a file by `text`.

    Raises:
        ValueError: the file has no such marks.
    """
    before, found, rest = path.read_text("utf-8").partition(START)
    _, ended, after = rest.partition(END)
    if not (found and ended):
        raise ValueError(f"{path}: no {START} ... {END}")
    with atomic_write(path, "w", force=True) as file:
        file.write(f"{before}{START}\n\n{text}\n{END}{after}")


def _policies(task: Figures) -> str:
    walks = "left" in task["policy"]
    times = {"policy": task["latency_ms"], "ddpm": task["latency_ms_ddpm"]}
    rows = [
        [said, success(task[key]), _number(times.get(key, {}).get("p50")),
         *([str(task[key].get(side, "")) for side in ("left", "right", "neither")] if walks else [])]
        for key, said in POLICIES.items() if key in task
    ]  # fmt: skip
    return _markdown(["who acts", "success", "a chunk, ms", *(["left", "right", "neither"] if walks else [])], rows)


def _robots(runs: Figures) -> str:
    rows = []
    for run, of in runs.items():
        before = runs["reach-two"]["steps"] if run == "reach-few" and "reach-two" in runs else 0
        rows.append(
            [STAGES[run], f"{of['steps'] + before}", *(success(of.get(e)) for e in (SECOND_ROBOT, FIRST_ROBOT))]
        )
    return (
        "Two robots in one network, the second commanded by velocities and shown 20 times:\n\n"
        + _markdown(["trained on", "steps", "second robot", "first robot"], rows)
    )  # fmt: skip


def _told(told: Figures) -> str:
    rows = [[said, success(told[key]), str(told[key].get("followed", ""))] for key, said in TOLD.items() if key in told]
    return "One of two targets counts, and the instruction names it:\n\n" + _markdown(
        ["the policy is told", "success", "went first where it was told"], rows
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))
