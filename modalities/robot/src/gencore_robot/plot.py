"""A trajectory as lines over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from gencore.errors import MissingDependency
from gencore.media.files import atomic_path
from gencore_robot.embodiments.embodiment import Embodiment
from gencore_robot.layout import Layout


def available() -> None:
    """Refuse where nothing draws.

    Raises:
        MissingDependency: matplotlib is not installed.
    """
    try:
        import matplotlib.figure  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingDependency("matplotlib", "--plot", "gencore-robot[plot]") from error


def beside(state: np.ndarray, robot: Embodiment) -> np.ndarray:
    """What a state says in the slots of the action, in the units of the action.

    Args:
        state: (T, S), in the robot's units.

    Returns:
        (T, A) float64, NaN in entries whose slots the state lacks, and everywhere if `state` is not of `robot`.
    """
    told = Layout(robot.state, "state")
    shared = [entry for entry in robot.action if all(told.valid[target.index] for target in entry.targets)]
    out = np.full((len(state), sum(entry.width for entry in robot.action)), np.nan)
    if shared and state.ndim == 2 and state.shape[1] == told.width and np.isfinite(state).all():
        columns = np.concatenate([np.full(entry.width, entry in shared) for entry in robot.action])
        slots = told.encode(torch.from_numpy(state.astype(np.float64)))
        out[:, columns] = Layout(shared, "action").decode(slots).numpy()
    return out


def write_plot(path: str | Path, trace: Mapping[str, np.ndarray], *, names: Sequence[str] = (), hz: float | None = None,
               title: str = "", force: bool = False) -> Path:  # fmt: skip
    """One small plot for each entry of the action, the state behind it where it is known.

    Args:
        trace: ``action`` (T, A) and, if there is one, ``state`` (T, A) in the same slots and units (see `beside`), NaN
            in entries without.
        names: of the A entries.
        hz: steps per second; None counts steps.

    Raises:
        MissingDependency: matplotlib is not installed.
        InputError: a file that may not be written.
    """
    available()
    from matplotlib.figure import Figure  # pyright: ignore[reportMissingImports]

    action, state = trace["action"], trace.get("state")
    count, times = action.shape[1], np.arange(len(action)) / (hz or 1)
    columns = min(count, 4)
    rows = -(-count // columns)
    figure = Figure(figsize=(3 * columns, 1.8 * rows + 0.6), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True).ravel()
    for i in range(count):
        axes[i].plot(times, action[:, i], color="tab:blue", linewidth=1.2, label="action")
        if state is not None and np.isfinite(state[:, i]).any():
            axes[i].plot(times, state[:, i], color="tab:orange", linewidth=1.0, label="state")
        axes[i].set_title(names[i] if i < len(names) else f"entry {i}", fontsize=8)
        axes[i].tick_params(labelsize=7)
    for unused in axes[count:]:
        unused.axis("off")
    axes[0].legend(fontsize=7)
    figure.supxlabel("seconds" if hz else "step", fontsize=8)
    figure.suptitle(title, fontsize=9)
    with atomic_path(path, force) as part:
        figure.savefig(part, format="png", dpi=120, metadata={"Software": None})
    return Path(path)
