from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gencore.errors import CheckpointError
from gencore.weights.keymap import Keymap

KEYS = Keymap(
    [
        (r"blocks\.(\d+)\.attn\.(qkv|proj)\.(weight|bias)", r"layers.\1.attention.\2.\3"),
        (r"y_embedder\.embedding_table\.weight", "label.table"),
        (r"stage(\d+)/block(\d+)", r"block\2.stage\1"),
    ],
    ignore={r"pos_embed": "rebuilt for the resolution", r".*\.running": "not used"},
)


def tensors(*names: str, size: int = 2) -> dict[str, torch.Tensor]:
    return {name: torch.full((size,), float(i)) for i, name in enumerate(names)}


def test_every_name_is_mapped_and_values_travel():
    table = "y_embedder.embedding_table.weight"
    source = tensors("blocks.0.attn.qkv.weight", "blocks.11.attn.proj.bias", table, "pos_embed")
    shapes = {"layers.0.attention.qkv.weight": (2,), "layers.11.attention.proj.bias": (2,), "label.table": (2,)}
    out = KEYS.apply(source, shapes)
    assert out.keys() == shapes.keys()
    assert out["layers.11.attention.proj.bias"] is source["blocks.11.attn.proj.bias"]


def test_a_rule_matches_whole_names_only():
    good = ["blocks.0.attn.qkv.bias", "pos_embed"]
    bad = ["x.blocks.0.attn.qkv.bias", "blocks.0.attn.qkv.bias.x", "pos_embed2"]
    assert KEYS.unmatched(good + bad) == bad


def test_both_sides_are_listed_at_once():
    extra = tensors(*(f"extra.{i}" for i in range(7)), "blocks.1.attn.qkv.bias")
    source = extra | tensors("stage1/block2", size=5)
    with pytest.raises(CheckpointError) as caught:
        KEYS.apply(source, {"block2.stage1": (3,), "label.table": (2,), "layers.0.attention.qkv.bias": (2,)}, "try vdt")
    text = str(caught.value)
    assert "\n" not in text and caught.value.field == "checkpoint" and text.endswith("try vdt")
    assert "unexpected: extra.0, extra.1, extra.2, extra.3 and 4 more" in text
    assert "missing: label.table, layers.0.attention.qkv.bias" in text
    assert "stage1/block2 (5,) for block2.stage1 (3,)" in text


def test_a_known_name_the_target_lacks_is_unexpected():
    with pytest.raises(CheckpointError, match=r"unexpected: blocks\.9\.attn\.qkv\.weight"):
        KEYS.apply(tensors("blocks.9.attn.qkv.weight"), {})


def test_two_names_that_become_one_are_refused():
    keys = Keymap([(r"(?:ema|raw)\.(.+)", r"\1")])
    with pytest.raises(CheckpointError, match=r"ema\.w and raw\.w -> w"):
        keys.rename(tensors("ema.w", "raw.w"))


def test_the_first_rule_that_matches_decides():
    keys = Keymap([(r"a\.special", "s"), (r"a\.(.+)", r"\1")])
    assert list(keys.rename(tensors("a.special", "a.other"))) == ["s", "other"]


@given(st.integers(0, 99), st.integers(0, 99), st.sampled_from(["qkv", "proj"]), st.sampled_from(["weight", "bias"]))
def test_invert_undoes_apply(i, j, part, leaf):
    source = tensors(f"blocks.{i}.attn.{part}.{leaf}", "y_embedder.embedding_table.weight", f"stage{i}/block{j}")
    assert KEYS.invert().rename(KEYS.rename(source)) == source
    assert KEYS.invert().invert().rename(source) == KEYS.rename(source)


def test_the_inverse_is_literal_where_the_rule_was():
    assert Keymap([(r"a\.(\d+)", r"b.\1")]).invert().target("bx3") is None


@pytest.mark.parametrize(
    "rule", [(r"a.b", "c"), (r"(a|b)\.c", "d"), (r"x(?:y)?", "z"), (r"(\d+)", r"\1.\1"), (r"a\d", "c")]
)
def test_rules_without_an_inverse_are_refused(rule):
    with pytest.raises(ValueError, match="no unique inverse"):
        Keymap([rule]).invert()
