"""What a model is trained on: windows around the beats of a recording."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gencore.data import Data
from gencore.errors import InputError
from gencore_ecg.beats import CLASSES, RATE, find_beats, is_wide

LENGTH = 2 * RATE
"""Samples of a window: two seconds."""
SHIFTS = 17
"""Places a training window takes around its beat: up to 8 samples (62 ms) early or late."""
_HELD_OUT = 0.2


class Windows(Data):
    """``{"data": (1, LENGTH) float32 in mV, "label": 0 narrow or 1 wide}``, a beat in the middle of each.

    Args:
        signal: (N,) float32 in mV at `RATE`.
        shifts: windows of a beat, odd; the middle one has the beat at LENGTH // 2.
        source: where the signal comes from, for people.
    """

    classes = CLASSES

    def __init__(self, signal: np.ndarray, shifts: int, source: str) -> None:
        self.signal, self.shifts, self.source = signal, shifts, source
        room = LENGTH // 2 + shifts // 2
        self.beats = [int(beat) for beat in find_beats(signal) if room <= beat < len(signal) - room]
        self.labels = [int(is_wide(signal, beat)) for beat in self.beats]
        if not self.beats:
            raise InputError("data", f"{source} (no beats)", "a recording in mV at 128 Hz, a few seconds or more")

    def __len__(self) -> int:
        return len(self.beats) * self.shifts

    def __getitem__(self, index: int) -> dict[str, Any]:
        beat, shift = divmod(range(len(self))[index], self.shifts)
        start = self.beats[beat] - LENGTH // 2 + shift - self.shifts // 2
        window = torch.from_numpy(self.signal[start : start + LENGTH])
        return {"data": window[None], "label": self.labels[beat]}

    def windows(self) -> np.ndarray:
        """(beats, LENGTH) float32, each with its beat in the middle."""
        middle = range(self.shifts // 2, len(self), self.shifts)
        return np.stack([self[i]["data"][0].numpy() for i in middle])

    def describe(self) -> str:
        seconds, wide = len(self.signal) / RATE, sum(self.labels)
        return f"{self.source}: {seconds:.0f} s, {len(self.beats) - wide} narrow and {wide} wide beats"


def open_data(source: Path | None, held_out: bool = False) -> Windows:
    """The first four fifths of a recording, every beat at `SHIFTS` places; of the last fifth each beat once.

    Args:
        source: a .csv file with one column of millivolts at 128 Hz; None takes the packaged recording.
        held_out: the last fifth.

    Raises:
        InputError: no such file, or no signal with beats in it.
    """
    signal = _packaged() if source is None else read_column(source)
    cut = round((1 - _HELD_OUT) * len(signal))
    name = "MIT-BIH record 208" if source is None else source.name
    return Windows(signal[cut:], 1, f"{name}, held out") if held_out else Windows(signal[:cut], SHIFTS, name)


def read_column(source: Path) -> np.ndarray:
    """(N,) float32 of a table whose first column counts; a first line that starts with # is skipped.

    Raises:
        InputError: no such file, or something in it that is no finite number.
    """
    try:
        column = np.loadtxt(source, delimiter=",", dtype=np.float32, ndmin=2, usecols=0).reshape(-1)
    except (OSError, ValueError) as fault:
        raise InputError("data", f"{source} ({fault})", "a .csv file with one column of millivolts at 128 Hz") from None
    if not np.isfinite(column).all():
        raise InputError("data", f"{source} (values that are not finite)", "finite millivolts")
    return column


def _packaged() -> np.ndarray:
    path = files("gencore_ecg") / "recording" / "mitdb208.npz"
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return arrays["microvolt"].astype(np.float32) / 1000
