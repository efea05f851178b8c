"""Heart beats in a signal: where they are and how wide, by two rules that real and generated signals face alike.

Signals are millivolts at `RATE`.  Nobody annotated anything here: "narrow" and "wide" mean what `is_wide` computes.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

RATE = 128
"""Samples a second."""
CLASSES = ("narrow", "wide")

_FLOOR, _REACH, _WIDE = 0.6, 32, 5


def find_beats(signal: NDArray[np.floating]) -> NDArray[np.int64]:
    """Indices of the R peaks of `signal` (N,): above 0.6 mV and the highest point within a quarter second both ways."""
    padded = np.pad(signal, _REACH, constant_values=-np.inf)
    highest = sliding_window_view(padded, 2 * _REACH + 1).max(axis=1)
    return np.flatnonzero((signal == highest) & (signal > _FLOOR))


def is_wide(signal: NDArray[np.floating], beat: int) -> bool:
    """Whether the peak at `beat` stays above half its height for 5 samples (39 ms) or more.

    Normal beats of the packaged recording have 2 to 4 samples, its ventricular beats 6 and more.
    """
    low = signal <= signal[beat] / 2
    before, after = np.flatnonzero(low[:beat]), np.flatnonzero(low[beat:])
    first = before[-1] + 1 if len(before) else 0
    last = beat + after[0] if len(after) else len(signal)
    return bool(last - first >= _WIDE)


def middle_beat(signal: NDArray[np.floating], reach: int = 12) -> int | None:
    """The highest peak within `reach` samples of the middle of `signal` (N,), or None."""
    near = [beat for beat in find_beats(signal) if abs(beat - len(signal) // 2) <= reach]
    return max(near, key=lambda beat: signal[beat], default=None)
