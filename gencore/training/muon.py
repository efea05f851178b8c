"""Muon for the matrices of the trunk, AdamW for all else, as one optimiser (arXiv:2502.16982).

    M <- mu M + G,   W <- W - lr (0.2 sqrt(max(rows, columns)) U + lambda W),   U = the orthogonal factor of G + mu M

The factor 0.2 sqrt(max) gives updates the size of AdamW's, so both take one learning rate and one decay.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from gencore.errors import MissingDependency


class Muon(Optimizer):
    """Two optimisers of torch behind one; its groups and states are theirs.

    Args:
        net: a network; the matrices inside its ``blocks`` go to Muon, embeddings, heads, vectors and biases to AdamW.
        lr: of both.
        betas: of AdamW.
        weight_decay: of both.

    Raises:
        MissingDependency: a torch before 2.9, which has no Muon.

    >>> net = nn.Module()
    >>> net.blocks, net.head = nn.ModuleList([nn.Linear(4, 4)]), nn.Linear(4, 2)
    >>> [len(group["params"]) for group in Muon(net, lr=1e-3).param_groups]
    [1, 3]
    """

    def __init__(self, net: nn.Module, *, lr: float, betas: tuple[float, float] = (0.9, 0.999),
                 weight_decay: float = 0.0) -> None:  # fmt: skip
        if not hasattr(torch.optim, "Muon"):
            raise MissingDependency("torch>=2.9", "optimiser muon", "torch>=2.9")
        trainable = {name: p for name, p in net.named_parameters() if p.requires_grad}
        matrices = [p for name, p in trainable.items() if "blocks." in f".{name}" and p.ndim == 2]
        chosen = {id(p) for p in matrices}
        others = [p for p in trainable.values() if id(p) not in chosen]
        parts: list[Optimizer] = []
        if matrices:
            parts.append(torch.optim.Muon(matrices, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"))
        if others:
            parts.append(torch.optim.AdamW(others, lr=lr, betas=betas, weight_decay=weight_decay))
        super().__init__([*matrices, *others], {"lr": lr})
        self.parts = parts
        self._share()

    def _share(self) -> None:
        self.param_groups = [group for part in self.parts for group in part.param_groups]

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step of both; `closure` computes the gradients and returns the loss."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self.parts:
            part.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        return {"optimizers": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for part, state in zip(self.parts, state_dict["optimizers"], strict=True):
            part.load_state_dict(state)
        self._share()
