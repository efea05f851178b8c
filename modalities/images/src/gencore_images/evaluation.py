"""A trained image pipeline against held-out pictures, seen by a named feature extractor.

Handwritten digits are reported by ``digit-cnn-b`` (see `gencore_images.metrics`).  Anything else is seen as
``pixels-pca<k>``: the pixels' first k principal components of the held-out pictures, a plain yardstick that knows
nothing of content.  Numbers compare only with numbers of the same extractor, the same n and the same pictures.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from gencore.errors import InputError
from gencore.metrics.distances import Array, frechet_distance, nearest_distances, precision_recall
from gencore.noise import Keyed, permutation, seeds_for
from gencore_images import metrics
from gencore_images.features import REPORTER, load_classifier

if TYPE_CHECKING:
    from gencore.pipeline import Pipeline
    from gencore_images.items import Items

_FLOATS = 50_000_000
_BATCH = 128
_KNOWN_SHARE = 0.9


def evaluate(pipe: Pipeline, data: Items, *, n: int, seed: int = 0, train: Items | None = None,
             progress: Callable[[int, int], None] | None = None) -> dict[str, Any]:  # fmt: skip
    """`n` samples of `pipe`, real pictures and a Gaussian, all against `data`.

    Args:
        data: held-out pictures.  Without `train` one half stands for the real pictures and fits the Gaussian, and the
            other is what all are measured against.
        n: samples, as many of each class as it divides into.
        seed: of the samples (seed .. seed + n - 1) and of every choice.
        train: the pictures the model was trained on; with them ``copied_model`` is reported too.

    Returns:
        ``extractor``, ``samples``, ``reference`` (pictures measured against), ``seeds``, ``seconds``, and for each of
        ``model``, ``real``, ``gaussian``: ``frechet_*``, ``precision_*``, ``recall_*``, for digits ``accuracy_*`` and
        the 95 % interval of the model's.

    Raises:
        InputError: fewer real pictures than samples, or fewer than 8 samples.
    """
    if n < 8:
        raise InputError("n", n, "8 or more")
    started = perf_counter()
    if train is None:
        order = permutation(seed, ("halves",), len(data))
        test, real = _pictures(data, order[::2], n), _pictures(data, order[1::2], n)
    else:
        test, real = (_pictures(d, permutation(seed, (k,), len(d)), n) for d, k in ((data, "test"), (train, "train")))
    if len(real[0]) < n:
        raise InputError("n", n, f"at most {len(real[0])}, the number of real pictures")
    made = _samples(pipe, n, seed, progress)
    classifier = load_classifier(REPORTER)
    ten = getattr(pipe.conditioner, "classes", 0) == 10 == len(data.classes) and tuple(test[0].shape[1:]) == (1, 28, 28)
    if ten and metrics.evaluate_classes(*test, classifier) >= _KNOWN_SHARE:
        report: dict[str, Any] = metrics.evaluate(made, real, test, classifier, seed)
        report["accuracy_interval"] = wilson(report["accuracy_model"], n)
        if train is None:
            del report["copied_model"]
    else:
        report = evaluate_pixels(made[0], real[0], test[0], seed, copies=train is not None)
    report |= {"reference": len(test[0]), "seeds": [seed, seed + n - 1]}
    return report | {"seconds": round(perf_counter() - started, 1)}


def evaluate_pixels(samples: Tensor, train: Tensor, test: Tensor, seed: int = 0, *, copies: bool = True
                    ) -> dict[str, Any]:  # fmt: skip
    """Figures on principal components; all (N, C, H, W) in [-1, 1], at least as many `train` as `samples`."""
    count, pca = len(samples), fit_pca(test)
    features = {"model": pca(samples), "real": pca(train[:count])}
    mean, root = features["real"].mean(0), np.linalg.svd(np.cov(pca(train), rowvar=False), hermitian=True)
    z = Keyed(seeds_for(seed, count), dtype=torch.float64).draw("normal", ("gaussian",), mean.shape).numpy()
    features["gaussian"] = mean + (z * np.sqrt(root[1])) @ root[0].T
    reference = pca(test)
    report: dict[str, Any] = {"extractor": pca.name, "samples": count}
    for who, seen in features.items():
        report[f"frechet_{who}"] = frechet_distance(seen, reference)
        report[f"precision_{who}"], report[f"recall_{who}"] = precision_recall(reference, seen)
    if copies:
        known = pca(train)
        near = np.percentile(nearest_distances(reference, known), 1)
        report["copied_model"] = float((nearest_distances(features["model"], known) < near).mean())
    return report


@dataclass(frozen=True)
class Pca:
    """The first k principal components of flat pictures: mean (D,) and basis (k, D), float64."""

    mean: Tensor
    basis: Tensor

    @property
    def name(self) -> str:
        return f"pixels-pca{len(self.basis)}"

    def __call__(self, images: Tensor) -> Array:
        """(N, k) float64 of `images` (N, C, H, W)."""
        return torch.cat([(x.flatten(1).double() - self.mean) @ self.basis.T for x in images.split(1000)]).numpy()


def fit_pca(images: Tensor, components: int = 64, rows: int = 2000) -> Pca:
    """The components of the first `rows` of `images` (N, C, H, W); fewer where the data has fewer.

    The eigenvectors are those of the smaller of the covariance (D, D) and the Gram matrix (N, N).
    """
    x = images[:rows].flatten(1).double()
    mean = x.mean(0)
    x = x - mean
    k = min(components, len(x) - 1, x.shape[1])
    if len(x) >= x.shape[1]:
        return Pca(mean, torch.linalg.eigh(x.T @ x)[1][:, -k:].T)
    values, vectors = torch.linalg.eigh(x @ x.T)
    return Pca(mean, (vectors[:, -k:] / values[-k:].clamp(min=1e-12).sqrt()).T @ x)


def wilson(share: float, count: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of a share of `count` trials (Wilson 1927).

    >>> [round(bound, 3) for bound in wilson(0.9, 100)]
    [0.826, 0.945]
    """
    centre, scale = share + z * z / (2 * count), 1 + z * z / count
    spread = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return (centre - spread) / scale, (centre + spread) / scale


def _pictures(data: Items, order: np.ndarray, n: int) -> metrics.Labelled:
    """Pictures and labels in this order, as many as fit into memory, but `n` at least."""
    first = data[int(order[0])]["data"]
    rows = [data[int(i)] for i in sorted(order[: max(n, _FLOATS // first.numel())])]
    return torch.stack([row["data"] for row in rows]), torch.tensor([row["label"] for row in rows])


def _samples(pipe: Pipeline, n: int, seed: int, progress: Callable[[int, int], None] | None) -> metrics.Labelled:
    words = pipe.modality.example(pipe, n)
    labels = words.get("label", [0] * n)
    made = []
    for start in range(0, n, _BATCH):
        stop = min(n, start + _BATCH)
        part: dict[str, Any] = {"label": labels[start:stop]} if "label" in words else {"n": stop - start}
        made.append(pipe.generate(**part, seed=seed + start).tensor)
        if progress is not None:
            progress(stop, n)
    return torch.cat(made), torch.tensor(labels)
