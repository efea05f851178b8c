"""How good generated digits are, seen by a *named* recogniser; the same numbers for real digits and a baseline.

Report with ``digit-cnn-b`` what was chosen with ``digit-cnn-a``.  Images are (N, 1, 28, 28) float in [-1, 1].
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from gencore.errors import InputError
from gencore.metrics.distances import Array, frechet_distance, nearest_distances, precision_recall
from gencore.noise import Keyed, permutation, seeds_for
from gencore_images.baseline import fit_class_gaussian
from gencore_images.features import DigitClassifier

Labelled = tuple[Tensor, Tensor]


@torch.no_grad()
def extract(images: Tensor, classifier: DigitClassifier, batch: int = 1000) -> Array:
    """Features (N, 64) float64 of `images`, `batch` at a time.

    Raises:
        InputError: another shape or dtype, or no images.
    """
    return torch.cat([classifier.features(part) for part in images.split(batch)]).double().cpu().numpy()


def evaluate_classes(samples: Tensor, labels: Tensor, classifier: DigitClassifier, batch: int = 1000) -> float:
    """Share of `samples` that `classifier` recognises as the digit they were asked to be, `labels` (N,) int in 0..9.

    Raises:
        InputError: unequal numbers of samples and labels, or another shape.
    """
    if labels.shape != samples.shape[:1] or not len(labels):
        raise InputError("labels", f"{tuple(labels.shape)} for {len(samples)} samples", "one a sample, at least one")
    parts = zip(samples.split(batch), labels.split(batch), strict=True)
    return torch.cat([classifier.recognised(x, y) for x, y in parts]).double().mean().item()


def frechet(samples: Tensor, real: Tensor, classifier: DigitClassifier) -> float:
    """Frechet distance of the features of `samples` and `real`; comparable at equal numbers and extractor only."""
    return frechet_distance(extract(samples, classifier), extract(real, classifier))


def copied_fraction(samples: Tensor, train: Tensor, held_out: Tensor, classifier: DigitClassifier) -> float:
    """Share of `samples` suspiciously near a training image.

    Near means nearer than all but 1 % of the held-out images are to theirs, in features: about 0.01 for a generator
    that is as new as real data, 1.0 for one that replays its training set.
    """
    known = extract(train, classifier)
    near = np.percentile(nearest_distances(extract(held_out, classifier), known), 1)
    return float((nearest_distances(extract(samples, classifier), known) < near).mean())


def evaluate(
    samples: Labelled, train: Labelled, test: Labelled, classifier: DigitClassifier, seed: int = 0
) -> dict[str, float | int | str]:
    """Every number on one page, with two yardsticks: real training digits and a Gaussian a class.

    Args:
        samples, train, test: (images, labels); the distance is taken to all of `test`.
        seed: of the choice of training digits and of the baseline, as many of each as there are samples.

    Returns:
        ``extractor``, ``samples``, and for each of ``model``, ``real``, ``gaussian``: ``accuracy_*``, ``frechet_*``,
        ``precision_*``, ``recall_*``; ``copied_model``.

    Raises:
        InputError: fewer training images than samples, or what the single measures refuse.
    """
    count = len(samples[0])
    if count > len(train[0]):
        raise InputError("samples", count, f"at most {len(train[0])}, the number of training images")
    pick = torch.from_numpy(permutation(seed, ("real",), len(train[0]))[:count])
    gaussian = fit_class_gaussian(*train).sample(samples[1], Keyed(seeds_for(seed, count)))
    seen = {"model": samples, "real": (train[0][pick], train[1][pick]), "gaussian": (gaussian, samples[1])}
    real = extract(test[0], classifier)
    report: dict[str, float | int | str] = {"extractor": classifier.name, "samples": count}
    for who, (images, labels) in seen.items():
        features = extract(images, classifier)
        report[f"accuracy_{who}"] = evaluate_classes(images, labels, classifier)
        report[f"frechet_{who}"] = frechet_distance(features, real)
        report[f"precision_{who}"], report[f"recall_{who}"] = precision_recall(real, features)
    report["copied_model"] = copied_fraction(samples[0], train[0], test[0], classifier)
    return report
