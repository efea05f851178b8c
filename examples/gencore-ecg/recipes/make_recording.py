"""The packaged recording from its source: ``python recipes/make_recording.py ecg.dat``.

``ecg.dat`` is the 5-minute excerpt (19:35 to 24:35, lead MLII, 360 Hz) of record 208 of the MIT-BIH Arrhythmia
Database that scipy shipped as ``scipy/misc/ecg.dat`` up to version 1.9; ``scipy.datasets.electrocardiogram()`` returns
the same signal.  It is band-passed to 0.5 .. 40 Hz (Butterworth, order 2, both ways), brought to 128 Hz and rounded to
microvolts.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from scipy import signal

TARGET = Path(__file__).resolve().parents[1] / "src" / "gencore_ecg" / "recording" / "mitdb208.npz"


def main(source: str) -> None:
    with np.load(source, allow_pickle=False) as file:
        millivolt = (file["ecg"].astype(np.float64) - 1024) / 200
    band = signal.butter(2, [0.5, 40], "bandpass", fs=360, output="sos")
    clean = signal.resample_poly(signal.sosfiltfilt(band, millivolt), 16, 45)
    np.savez_compressed(TARGET, microvolt=(1000 * clean).round().astype(np.int16))
    print(TARGET.name, len(clean), "samples")


if __name__ == "__main__":
    main(sys.argv[1])
