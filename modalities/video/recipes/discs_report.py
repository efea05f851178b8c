"""The figures of a card as a page: what the model does, what copying does, and where the model is worse."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gencore.media.files import atomic_write

Figures = Mapping[str, Any]

GUESSES = {"nearest": "copying", "linear": "linear in time", "straight_line": "straight line"}
BETTER = {"psnr_generated": 1, "ssim_generated": 1, "position_error": -1}
NAMES = {"psnr_generated": "PSNR", "ssim_generated": "SSIM", "position_error": "position error"}
UNITS = {"psnr_generated": " dB", "ssim_generated": "", "position_error": " px"}
SHORT, FRAMEWISE, ALONE = "discs-short", "discs-framewise", "discs-predict-alone"
START, END = "<!-- figures -->", "<!-- end of figures -->"


def lines(figures: Figures) -> list[str]:
    """One line for every task and figure in which some baseline is better than the model, and for every roll-out.

    >>> lines({"tasks": {"predict": {"model": {"position_error": 2.0}, "nearest": {"position_error": 1.5}}}})
    ['predict: position error 2 px, copying 1.5 px']
    """
    found = []
    for name, task in figures["tasks"].items():
        for figure, sign in BETTER.items():
            model = task["model"].get(figure)
            better = [
                f"{said} {_number(task[guess][figure])}{UNITS[figure]}"
                for guess, said in GUESSES.items()
                if model is not None and sign * task.get(guess, {}).get(figure, -sign * float("inf")) > sign * model
            ]
            if better:
                found.append(f"{name}: {NAMES[figure]} {_number(model)}{UNITS[figure]}, {', '.join(better)}")
    for frames, part in figures.get("roll_out", {}).items():
        model, copied = part["model"]["position_error"], part["nearest"]["position_error"]
        if model > copied:
            found.append(f"roll-out, frames {frames}: position error {_number(model)} px, copying {_number(copied)} px")
    return found


def sentences(card: Figures) -> str:
    """What a reader of one paragraph should know, good and bad."""
    figures = card["figures"]
    said = []
    for name in ("predict", "interpolate"):
        task = figures["tasks"][name]
        of = {guess: task[guess] for guess in ("model", "nearest", "linear")}
        psnr, ssim = ({k: _number(v[figure]) for k, v in of.items()} for figure in ("psnr_generated", "ssim_generated"))
        where = {k: _number(v["position_error"]) for k, v in of.items()}
        said.append(
            f"{name}: {psnr['model']} dB over generated cells (copying {psnr['nearest']}, linear in time "
            f"{psnr['linear']}), SSIM {ssim['model']} ({ssim['nearest']}, {ssim['linear']}), discs {where['model']} px "
            f"off ({where['nearest']}, {where['linear']})"
        )
    worse = sorted({line.partition(":")[0].partition(",")[0] for line in lines(figures) if "copying" in line})
    against = (
        f"It is worse than copying in some figure of: {', '.join(worse)}." if worse else "Copying is never better."
    )
    return f"On {figures['clips']} held-out clips, {'; '.join(said)}. {against}"


def table(card: Figures) -> str:
    """All figures as Markdown."""
    figures, comparison = card["figures"], card.get("comparison", {})
    parts = [card.get("in words") or sentences(card), _tasks(figures)]
    parts += [_given(figures), _rolled(figures), _unconditional(figures), *_compared(comparison)]
    if worse := lines(figures):
        parts.append("Where a baseline is better:\n\n" + "\n".join(f"- {line}" for line in worse))
    if missing := comparison.get("missing"):
        parts.append(f"Not compared, for want of a run: {', '.join(missing)}.")
    return "\n\n".join(part for part in parts if part) + "\n"


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


def _tasks(figures: Figures) -> str:
    rows = []
    for name, task in figures["tasks"].items():
        for guess, said in {"model": "**model**", **GUESSES}.items():
            if guess in task:
                rows.append([name, said, *(_number(task[guess].get(figure)) for figure in BETTER)])
    return _markdown(["task", "guess", "PSNR, dB", "SSIM", "discs off, px"], rows)


def _given(figures: Figures) -> str:
    rows = [[k, *(_number(part["model"].get(f)) for f in ("psnr_generated", "position_error")),
             _number(part.get("straight_line", {}).get("position_error"))]
            for k, part in figures.get("given_frames", {}).items()]  # fmt: skip
    return _markdown(["given frames", "PSNR of the last quarter, dB", "discs off, px", "straight line, px"], rows)


def _rolled(figures: Figures) -> str:
    rows = [[frames, *(_number(part[guess].get("position_error")) for guess in ("model", "nearest", "straight_line")),
             _number(part["model"]["unevenness"]), _number(part["real"]["unevenness"])]
            for frames, part in figures.get("roll_out", {}).items()]  # fmt: skip
    head = ["roll-out, frames", "discs off, px", "copying, px", "straight line, px", "unevenness, px", "of real clips"]
    return _markdown(head, rows)


def _unconditional(figures: Figures) -> str:
    found = dict(figures.get("unconditional", {}))
    clips = found.pop("training_clips", None)
    rows = [
        [name.replace("_", " "), *map(_number, value.values() if isinstance(value, Mapping) else (value, None))]
        for name, value in found.items()
    ]
    against = "" if clips is None else f", against {clips} training clips"
    return _markdown([f"unconditional{against}", "model", "held-out clips"], rows)


def _compared(comparison: Figures) -> Iterable[str]:
    """One model for all tasks beside one a task, and temporal attention on and off."""
    runs, steps = comparison.get("runs", {}), comparison.get("steps", {})
    if not (every := runs.get(SHORT)):
        return
    each = {name: runs[run][name] for name in every if (run := f"discs-{name}") in runs}
    if each:
        yield _specialists(
            every, each, steps[SHORT], sum(steps[f"discs-{name}"] for name in each), comparison["sampler"]
        )
    if alone := runs.get(ALONE, {}).get("predict"):
        model, single = (_number(figures["position_error"]) for figures in (every["predict"], alone))
        yield (
            f"With {steps[ALONE]} steps for prediction alone, as many as the model of all tasks had for all, a "
            f"specialist is {single} px off, the model of all tasks {model} px."
        )
    if framewise := runs.get(FRAMEWISE):
        shown = ("velocity_error", "position_error", "unevenness")
        rows = [[name, *(_number(run[name].get(figure)) for figure in shown for run in (every, framewise))]
                for name in every]  # fmt: skip
        head = [f"{figure.replace('_', ' ')}, {how}" for figure in shown for how in ("on", "off")]
        yield f"Temporal attention on and off, {steps[SHORT]} steps each, pixels:\n\n" + _markdown(
            ["task", *head], rows
        )


def _specialists(every: Figures, each: Figures, steps: int, together: int, sampler: str) -> str:
    rows, ratios = [], []
    for name, single in each.items():
        figure = "position_error" if "position_error" in single else "unevenness"
        ratios.append(every[name][figure] / single[figure])
        # Of mean squared errors, of which PSNR is the logarithm.
        gap = single.get("psnr_generated", 0.0) - every[name].get("psnr_generated", 0.0)
        squared = _number(10 ** (gap / 10)) if "psnr_generated" in single else ""
        rows.append([name, *(_number(v[figure]) for v in (every[name], single)), _number(ratios[-1]), squared])
    head = ["task", "all tasks, px", "its own, px", "ratio", "ratio of squared cell errors"]
    return (
        f"One model for all tasks, {steps} steps, beside one for each task, {together} steps together ({sampler}): "
        f"discs off, and unevenness where nothing is given. At worst the one model has {max(ratios):.2f} times the "
        "error. Its rivals have as many weights each, and learn from the clips of their own steps alone.\n\n"
        + _markdown(head, rows)
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))
