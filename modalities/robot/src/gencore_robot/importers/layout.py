"""The layout of RDT's published weights, and what shapes and configuration tell
(github.com/thu-ml/RoboticsDiffusionTransformer)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

from torch import Tensor

from gencore.denoised import Prediction
from gencore.errors import CheckpointError
from gencore.weights.keymap import Keymap
from gencore_robot.backbones.norms import NormName
from gencore_robot.backbones.rdt import BEFORE, RDT

_WB = r"(weight|bias)"
KEYS = Keymap([
    (rf"model\.t_embedder\.mlp\.(0|2)\.{_WB}", r"time_embed.mlp.\1.\2"),
    (rf"model\.freq_embedder\.mlp\.(0|2)\.{_WB}", r"frequency_embed.mlp.\1.\2"),
    (r"model\.x_pos_embed", r"positions"),
    (r"model\.lang_cond_pos_embed", r"streams.language.positions"),
    (r"model\.img_cond_pos_embed", r"streams.images.positions"),
    (r"model\.blocks\.(\d+)\.norm(1|2|3)\.weight", r"blocks.\1.norm\2.weight"),
    (rf"model\.blocks\.(\d+)\.attn\.(qkv|proj)\.{_WB}", r"blocks.\1.attn.\2.\3"),
    (r"model\.blocks\.(\d+)\.attn\.(q_norm|k_norm)\.weight", r"blocks.\1.attn.\2.weight"),
    (rf"model\.blocks\.(\d+)\.cross_attn\.(q|kv|proj)\.{_WB}", r"blocks.\1.cross.\2.\3"),
    (r"model\.blocks\.(\d+)\.cross_attn\.(q_norm|k_norm)\.weight", r"blocks.\1.cross.\2.weight"),
    (rf"model\.blocks\.(\d+)\.ffn\.(fc1|fc2)\.{_WB}", r"blocks.\1.mlp.\2.\3"),
    (r"model\.final_layer\.norm_final\.weight", r"final_norm.weight"),
    (rf"model\.final_layer\.ffn_final\.fc1\.{_WB}", r"final.0.\1"),
    (rf"model\.final_layer\.ffn_final\.fc2\.{_WB}", r"final.2.\1"),
    (rf"lang_adaptor\.(\d+)\.{_WB}", r"streams.language.adaptor.\1.\2"),
    (rf"lang_adaptor\.{_WB}", r"streams.language.adaptor.\1"),
    (rf"img_adaptor\.(\d+)\.{_WB}", r"streams.images.adaptor.\1.\2"),
    (rf"img_adaptor\.{_WB}", r"streams.images.adaptor.\1"),
    (rf"state_adaptor\.(\d+)\.{_WB}", r"state_adaptor.\1.\2"),
    (rf"state_adaptor\.{_WB}", r"state_adaptor.\1"),
])  # fmt: skip
"""From the published names to those of `gencore_robot.backbones.rdt`."""
TABLE, FIRST = "model.x_pos_embed", "model.blocks.0.attn.q_norm.weight"


def build(state: Mapping[str, Tensor], config: Mapping[str, Any], norm: NormName) -> RDT:
    """The network of a state dict, untrained; sizes from the shapes, the rest from the published configuration.

    Args:
        config: of the checkpoint's folder; empty takes what the published models have.

    Raises:
        CheckpointError: tensors missing, or a configuration at odds with them.
    """
    if missing := [name for name in (TABLE, FIRST, *_TABLES.values()) if name not in state]:
        raise CheckpointError("checkpoint", f"weights without {', '.join(missing)}", "weights of RDTRunner")
    width, head = state[TABLE].shape[-1], len(state[FIRST])
    adaptors = {part: _adaptor(state, f"{part}_adaptor") for part in ("lang", "img", "state")}
    slots, rest = divmod(adaptors["state"][1], 2)
    scheduler = config.get("noise_scheduler") or {}
    kind = str(scheduler.get("prediction_type", "sample"))
    if rest or kind not in _KINDS:
        given = f"{adaptors['state'][1]} state channels" if rest else f"prediction_type {kind}"
        raise CheckpointError("checkpoint", given, "twice the action dims" if rest else ", ".join(_KINDS))
    streams = {
        name: {"dims": adaptors[part][1], "length": state[table].shape[1], "adaptor": adaptors[part][0],
               "grid": _grid(config, part, state[table].shape[1])}
        for (name, part), table in _TABLES.items()
    }  # fmt: skip
    net = RDT(
        width=width, depth=1 + max(int(n.split(".")[2]) for n in state if n.startswith("model.blocks.")),
        heads=width // head, horizon=state[TABLE].shape[1] - BEFORE, slots=slots, streams=streams,
        state_adaptor=adaptors["state"][0], norm=norm, prediction=Prediction(_KINDS[kind]),
    )  # fmt: skip
    _agree(config, net)
    return net


def read_settings(path: Path) -> dict[str, Any]:
    """The ``config.json`` in or beside `path`, or nothing where there is none.

    Raises:
        CheckpointError: no JSON object.
    """
    file = (path if path.is_dir() else path.parent) / "config.json"
    if not file.is_file():
        return {}
    try:
        config = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as fault:
        raise CheckpointError("checkpoint", f"{file} ({fault})", "a JSON file") from None
    if not isinstance(config, dict):
        raise CheckpointError("checkpoint", file, "a JSON object")
    return config


_TABLES = {("language", "lang"): "model.lang_cond_pos_embed", ("images", "img"): "model.img_cond_pos_embed"}
_KINDS: dict[str, Any] = {"sample": "x0", "epsilon": "epsilon"}


def _adaptor(state: Mapping[str, Tensor], prefix: str) -> tuple[str, int]:
    """Name and input width of an adaptor."""
    linears = sorted(n for n in state if n.startswith(f"{prefix}.") and n.endswith("weight"))
    if not linears:
        raise CheckpointError("checkpoint", f"weights without {prefix}", "weights of RDTRunner")
    name = "linear" if linears == [f"{prefix}.weight"] else f"mlp{len(linears)}x_gelu"
    return name, state[linears[0]].shape[1]


def _grid(config: Mapping[str, Any], part: str, length: int) -> list[int] | None:
    """The grid of a stream's table as configured; it only matters for the number of tokens, the table being loaded."""
    if f"{part}_pos_embed_config" not in config:
        return [-length]
    told = config[f"{part}_pos_embed_config"]
    if told is None:
        return None
    try:
        ((_, sizes),) = told
        grid: Sequence[int] = [int(sizes)] if isinstance(sizes, int) else [int(n) for n in sizes]
    except (TypeError, ValueError):
        raise CheckpointError("checkpoint", f"{part}_pos_embed_config {told}", "one [name, sizes]") from None
    if abs(prod(grid)) != length:
        raise CheckpointError("checkpoint", f"{part}_pos_embed_config {told}", f"{length} tokens, as the table has")
    return list(grid)


def _agree(config: Mapping[str, Any], net: RDT) -> None:
    inner = {**config, **(config.get("rdt") or {})}
    ours = net.config()
    for theirs, mine in (("hidden_size", "width"), ("depth", "depth"), ("num_heads", "heads"),
                         ("pred_horizon", "horizon"), ("action_dim", "slots")):  # fmt: skip
        if theirs in inner and inner[theirs] != ours[mine]:
            told = f"config.json with {theirs} {inner[theirs]}"
            raise CheckpointError("checkpoint", told, f"{ours[mine]} as the weights")
