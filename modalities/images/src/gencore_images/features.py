"""Two small, independent digit recognisers, the named eyes of the image metrics.

``digit-cnn-a`` chooses (a guidance scale, a checkpoint); ``digit-cnn-b``, another architecture trained from another
seed, reports.  A number is never reported by the network it was tuned on.  They are trained by
``recipes/train_classifiers.py`` and stored in float16; the held-out accuracy stands in each file's metadata.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from gencore.errors import InputError, unknown
from gencore.weights.files import read_tensors
from gencore.weights.keymap import Keymap

SELECTOR, REPORTER = "digit-cnn-a", "digit-cnn-b"
FOLDER = Path(__file__).parent / "default" / "classifiers"


def _strided() -> nn.Sequential:
    """3x3 convolutions with batch norm and strides, averaged over the plane: 64 features."""

    def conv(cin: int, cout: int, stride: int) -> list[nn.Module]:
        return [nn.Conv2d(cin, cout, 3, stride, 1, bias=False), nn.BatchNorm2d(cout), nn.GELU()]

    layers = [*conv(1, 16, 1), *conv(16, 32, 2), *conv(32, 64, 2), *conv(64, 64, 1)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def _pooled() -> nn.Sequential:
    """5x5 convolutions with max pooling and a fully connected layer, no normalisation: 64 features."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(32 * 7 * 7, 64), nn.GELU(),
    )  # fmt: skip


TRUNKS: dict[str, Callable[[], nn.Sequential]] = {SELECTOR: _strided, REPORTER: _pooled}


class DigitClassifier(nn.Module):
    """A trunk that gives 64 features and a linear read-out over the ten digits.

    Args:
        name: ``digit-cnn-a`` or ``digit-cnn-b``.  The weights are untrained; `load_classifier` gives the trained ones.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        if name not in TRUNKS:
            raise unknown("classifier", name, TRUNKS)
        self.name = name
        self.facts: dict[str, str] = {}
        self.trunk = TRUNKS[name]()
        self.head = nn.Linear(64, 10)

    def features(self, images: Tensor) -> Tensor:
        """Features (B, 64) of `images` (B, 1, 28, 28) float in [-1, 1].

        Raises:
            InputError: another shape or dtype.
        """
        if images.ndim != 4 or images.shape[1:] != (1, 28, 28) or not images.is_floating_point():
            raise InputError("images", f"{tuple(images.shape)} {images.dtype}", "(B, 1, 28, 28) float in [-1, 1]")
        return self.trunk(images)

    def logits(self, images: Tensor) -> Tensor:
        """Unnormalised log-probabilities (B, 10) of the digits 0..9; input as for `features`."""
        return self.head(self.features(images))

    forward = logits

    @torch.no_grad()
    def recognised(self, images: Tensor, labels: Tensor) -> Tensor:
        """(B,) bool: the most probable digit of image b is ``labels[b]``; labels (B,) int in 0..9."""
        return self.logits(images).argmax(1) == labels


def load_classifier(name: str, folder: Path = FOLDER) -> DigitClassifier:
    """The trained, frozen recogniser `name` in float32; ``.facts`` holds its file's metadata (accuracy, seed, data).

    Raises:
        InputError: an unknown name.
        CheckpointError: its file is missing or damaged.
    """
    with torch.device("meta"):
        model = DigitClassifier(name)
    stored, model.facts = read_tensors(folder / f"{name}.safetensors")
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    state = Keymap([(r"(.+)", r"\1")]).apply(stored, shapes)
    state = {key: value.float() if value.is_floating_point() else value for key, value in state.items()}
    model.load_state_dict(state, assign=True)
    return model.eval().requires_grad_(False)
