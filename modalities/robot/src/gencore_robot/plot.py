"""A trajectory as lines over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from gencore.errors import MissingDependency
from gencore.media.files import atomic_path


def write_plot(path: str | Path, trace: Mapping[str, np.ndarray], *, names: Sequence[str] = (), hz: float | None = None,
               title: str = "", force: bool = False) -> Path:  # fmt: skip
    """One small plot for each entry of the action, the state behind it where both have as many entries.

    Args:
        trace: ``action`` (T, A) and, if there is one, ``state`` (T, S).
        names: of the A entries.
        hz: steps per second; None counts steps.

    Raises:
        MissingDependency: matplotlib is not installed.
        InputError: a file that may not be written.
    """
    try:
        from matplotlib.figure import Figure  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingDependency("matplotlib", "--plot", "gencore-robot[plot]") from error
    action, state = trace["action"], trace.get("state")
    count, times = action.shape[1], np.arange(len(action)) / (hz or 1)
    columns = min(count, 4)
    rows = -(-count // columns)
    figure = Figure(figsize=(3 * columns, 1.8 * rows + 0.6), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True).ravel()
    for i in range(count):
        axes[i].plot(times, action[:, i], color="tab:blue", linewidth=1.2, label="action")
        if state is not None and state.shape == action.shape:
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
