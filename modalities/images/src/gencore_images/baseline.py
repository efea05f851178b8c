"""What a generator must beat: one Gaussian a class on its principal components."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gencore.errors import InputError
from gencore.noise import Noise


@dataclass(frozen=True)
class ClassGaussian:
    """x = mean_y + z @ basis_y with z standard normal: the best Gaussian of each class with k components.

    Args:
        mean: (K, D) float64.
        basis: (K, k, D) float64, rows are principal axes times their standard deviations.
        shape: (C, H, W) of an image, D = C*H*W.
    """

    mean: Tensor
    basis: Tensor
    shape: tuple[int, ...]

    def sample(self, labels: Tensor, noise: Noise) -> Tensor:
        """Images (B, C, H, W) float32 in [-1, 1] (clamped) of `labels` (B,) int in 0..K-1, one stream a sample."""
        z = noise.draw("normal", ("class gaussian",), (self.basis.shape[1],)).double()
        flat = self.mean[labels] + torch.einsum("bk,bkd->bd", z, self.basis[labels])
        return flat.clamp(-1, 1).float().view(-1, *self.shape)


def fit_class_gaussian(images: Tensor, labels: Tensor, components: int = 50) -> ClassGaussian:
    """Fit `images` (N, C, H, W) in [-1, 1] with `labels` (N,) int: every label 0..max has at least two images.

    Raises:
        InputError: a class with fewer than two images, or `components` outside 1..C*H*W.
    """
    flat = images.flatten(1).double()
    if not 1 <= components <= flat.shape[1]:
        raise InputError("components", components, f"1..{flat.shape[1]}")
    means, bases = [], []
    for label in range(int(labels.max()) + 1):
        rows = flat[labels == label]
        if len(rows) < 2:
            raise InputError("labels", f"{len(rows)} images of class {label}", "at least two of each class")
        values, vectors = torch.linalg.eigh(torch.cov(rows.T))
        means.append(rows.mean(0))
        bases.append((vectors[:, -components:] * values[-components:].clamp(min=0).sqrt()).T)
    return ClassGaussian(torch.stack(means), torch.stack(bases), tuple(images.shape[1:]))
