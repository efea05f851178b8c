"""How good generated strips are: four plain measures, the same for real strips and for a Gaussian of each class.

Strips are (n, LENGTH) float in mV.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gencore.errors import InputError
from gencore.metrics.distances import frechet_distance, nearest_distances
from gencore.noise import normals, permutation
from gencore_ecg.beats import RATE, find_beats, is_wide, middle_beat
from gencore_ecg.data import Windows, open_data

if TYPE_CHECKING:
    from gencore.pipeline import Pipeline

Strips = NDArray[np.floating]

_AROUND = 12


def evaluate(pipe: Pipeline, data: Windows, *, n: int, seed: int = 0, train: Windows | None = None,
             progress: Callable[[int, int], None] | None = None) -> dict[str, Any]:  # fmt: skip
    """`n` strips of `pipe`, as many real ones and as many of a Gaussian, against the held-out `data`.

    Args:
        data: held out; the labels asked for are its labels in turn.
        train: what the model learned from; None takes the packaged recording.

    Returns:
        for each of ``model``, ``real`` (from `train`), ``gaussian``: ``middle_*``, the share whose middle beat is as
        wide as asked for; ``shape_*`` and ``spectrum_*``, Frechet distances of `beat_shapes` and of `spectra`;
        ``interval_*``, the distance in ms between the distributions of times from beat to beat.  ``copied_model``:
        share nearer to a training window than all but 1 % of `data` are.

    Raises:
        InputError: fewer than two strips, or more than `train` has windows.
    """
    train = train or open_data(None)
    if not 2 <= n <= len(train.beats):
        raise InputError("n", n, f"2..{len(train.beats)}, the beats of the training data")
    asked = [data.labels[i % len(data.labels)] for i in range(n)]
    made = pipe.generate(label=asked, seed=seed, batch=64).tensor[:, 0].numpy()
    if progress is not None:
        progress(n, n)
    pick = permutation(seed, ("real",), len(train.beats))[:n]
    real = train.windows()
    held_out = data.windows()
    seen = {
        "model": (made, asked),
        "real": (real[pick], [train.labels[i] for i in pick]),
        "gaussian": (gaussian(real, train.labels, asked, seed), asked),
    }
    figures: dict[str, Any] = {"extractor": "beat-shapes and log-spectrum16", "samples": n, "reference": len(held_out)}
    reference = beat_shapes(held_out)
    scale = reference.std(axis=0)
    for who, (strips, labels) in seen.items():
        figures[f"middle_{who}"] = middle_share(strips, labels)
        figures[f"shape_{who}"] = frechet_distance(beat_shapes(strips) / scale, reference / scale)
        figures[f"spectrum_{who}"] = frechet_distance(spectra(strips), spectra(held_out))
        figures[f"interval_{who}"] = interval_distance(strips, held_out)
    shifted = np.stack([train[i]["data"][0].numpy() for i in range(len(train))])
    near = np.percentile(nearest_distances(held_out, shifted), 1)
    figures["copied_model"] = float((nearest_distances(made, shifted) < near).mean())
    return figures


def middle_share(strips: Strips, labels: list[int]) -> float:
    """Share of strips with a beat in the middle that is as wide as its label says."""
    beats = [middle_beat(strip) for strip in strips]
    right = [b is not None and is_wide(s, b) == bool(k) for s, b, k in zip(strips, beats, labels, strict=True)]
    return float(np.mean(right))


def beat_shapes(strips: Strips) -> NDArray[np.float64]:
    """(beats, 4) of every beat a tenth of a second from both ends: height, lowest point around it, steepest rise and
    fall, all in mV (a sample).

    Raises:
        InputError: fewer than two such beats.
    """
    rows = []
    for strip in strips.astype(np.float64):
        for beat in find_beats(strip):
            around = strip[max(0, beat - _AROUND) : beat + _AROUND]
            if len(around) == 2 * _AROUND:
                slopes = np.diff(around)
                rows.append((strip[beat], around.min(), slopes.max(), slopes.min()))
    if len(rows) < 2:
        raise InputError("strips", f"{len(rows)} beats", "two or more")
    return np.array(rows)


def spectra(strips: Strips) -> NDArray[np.float64]:
    """(n, 16) log of the mean magnitude in bands of equal width up to 32 Hz, the constant left out."""
    magnitudes = np.abs(np.fft.rfft(strips.astype(np.float64), axis=1))[:, 1:65]
    return np.log(magnitudes.reshape(len(strips), 16, -1).mean(axis=2) + 1e-3)


def interval_distance(a: Strips, b: Strips) -> float:
    """Wasserstein-1 distance in ms between the times from beat to beat within the strips of `a` and of `b`."""
    levels = (np.arange(200) + 0.5) / 200
    both = (intervals(a), intervals(b))
    first, second = (np.quantile(times, levels) if len(times) else np.zeros(200) for times in both)
    return float(np.abs(first - second).mean())


def intervals(strips: Strips) -> NDArray[np.float64]:
    """Times in ms between neighbouring beats of each strip, all together."""
    return np.concatenate([np.diff(find_beats(strip)) for strip in strips]) * 1000 / RATE


def gaussian(real: Strips, labels: list[int], asked: list[int], seed: int) -> Strips:
    """One strip a label of `asked`, drawn from the mean and covariance of the real strips of that label."""
    made = np.empty((len(asked), real.shape[1]))
    for label in sorted(set(asked)):
        rows = real[np.asarray(labels) == label].astype(np.float64)
        _, scale, axes = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
        for i in np.flatnonzero(np.asarray(asked) == label):
            z = normals(seed + int(i), ("gaussian",), len(scale))
            made[i] = rows.mean(axis=0) + (z * scale / np.sqrt(len(rows) - 1)) @ axes
    return made
