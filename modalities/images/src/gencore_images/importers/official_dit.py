"""The checkpoint layout that DiT and SiT share, as a network (arXiv:2212.09748)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from gencore.backbones.dit import DiT
from gencore.denoised import Prediction
from gencore.errors import InputError
from gencore.nn.embed import sincos_grid
from gencore.nn.init import seeded
from gencore.weights.dit_layout import PATCH, POSITIONS, REBUILT, RULES, load_official
from gencore.weights.dit_layout import read_official as read_layout
from gencore.weights.dit_layout import size_name as name_of
from gencore.weights.keymap import Keymap
from gencore_images.presets import SIZES

KEYS = Keymap(RULES, ignore=REBUILT)


@dataclass(frozen=True)
class Read:
    """A network from a file.

    Args:
        net: with its weights.
        classes: K; the network's null row is K where `null`.
        size: (H, W) of the state.
        notes: what a user should know of the file.
    """

    net: DiT
    classes: int
    null: bool
    size: tuple[int, int]
    notes: list[str]


def read_official(path: str | Path, system: str, prediction: Callable[[bool], Prediction], *, heads: int | None = None,
                  classes: int | None = None) -> Read:  # fmt: skip
    """The network in an official DiT or SiT file: a bare state dict, or {ema, model, opt, args}; the EMA is preferred.

    Args:
        system: the importer's name, for errors.
        prediction: what the output means, given whether it has twice the input's channels.
        heads, classes: where the file does not tell, see `import_dit`.

    Raises:
        CheckpointError: damaged, unsafe, or of another layout; the error names the keys and the importer that fits.
        InputError: heads or classes that cannot be.
    """
    file = read_layout(path, KEYS, system, "an official DiT or SiT file", trained=True)
    classes, null = label_rows(file.rows, file.options.get("num_classes") if classes is None else classes)
    with seeded(0):
        net = DiT(file.channels, (file.patch, file.patch), width=file.width, depth=file.depth,
                  heads=file.heads(SIZES, heads), mlp_ratio=file.mlp_ratio,
                  pos="sincos" if file.table is None else "table",
                  grid=None if file.table is None else (file.side, file.side),
                  ports={"label": {"kind": "label", "classes": classes, "null": null}},
                  prediction=prediction(file.outputs == 2))  # fmt: skip
    load_official(net, file, KEYS)
    notes = [
        f"{len(file.state) - 1} tensors mapped, 0 left over; {file.chosen} chosen; size {size_name(net)} inferred",
        f"position table rebuilt: equal to the file's for {file.side}x{file.side} tokens" if file.table is None else
        f"position table trained: kept, and for {file.side}x{file.side} tokens only",
        label_note(file.rows, classes, null),
    ]  # fmt: skip
    return Read(net, classes, null, (file.side * file.patch, file.side * file.patch), notes)


def write_official(net: DiT, size: tuple[int, int]) -> dict[str, Tensor]:
    """The state dict of `net` in the official layout, with the position table of a state of `size` (H, W).

    Raises:
        CheckpointError: a network with parts that this layout has no names for.
    """
    state = KEYS.invert().rename({name: tensor for name, tensor in net.state_dict().items() if name != "table"})
    height, width = net.patch
    state[PATCH] = state[PATCH].unflatten(1, (-1, height, width))
    ours = sincos_grid((size[0] // height, size[1] // width), net.width)
    state[POSITIONS] = (ours if net.pos == "sincos" else net.state_dict()["table"])[None]
    return state


def label_rows(rows: int, classes: int | None) -> tuple[int, bool]:
    """(K, whether there is a null row) of a label table; unless K is known the last of several rows is the null.

    Raises:
        InputError: a number of classes that the table does not have.
    """
    if classes is None:
        classes = max(rows - 1, 1)
    if classes not in (rows - 1, rows):
        raise InputError("classes", classes, f"{rows - 1} (and a null row) or {rows}: the label table has {rows} rows")
    return classes, classes < rows


def label_note(rows: int, classes: int, null: bool) -> str:
    """How a label table was read, and what to say if that is wrong."""
    if not null:
        return f"label table of {rows} rows read as {classes} classes without a null row: no guidance"
    return f"label table of {rows} rows read as {classes} classes and a null row (--classes {rows} if it has none)"


def size_name(net: DiT) -> str:
    """The published name of a size, ``XL/2``, or its numbers."""
    return name_of(SIZES, net.config(), net.patch[0])
