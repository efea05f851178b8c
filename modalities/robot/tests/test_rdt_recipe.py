"""The published training of RDT: what is missing now and then, and the noise on the state."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from gencore.errors import InputError
from gencore.noise import Keyed
from gencore.training.module import batch_loss
from gencore_robot import presets
from gencore_robot.backbones.rdt import SIZES
from gencore_robot.conditioning.precomputed import Precomputed
from gencore_robot.data import Episodes, open_episodes
from gencore_robot.embodiments.library import load
from gencore_robot.readers.chunks import chunks_of

STREAMS = {
    "language": {"dims": 5, "length": 8, "grid": [-8]},
    "images": {"dims": 6, "length": 12, "grid": [2, 3, -2]},
}
NULLS = {"language": np.full((2, 5), 7.0), "images": np.array([[8.0] * 6, [9.0] * 6])}


def recorded(path: Path, steps: int = 20, *, start: float = 0.0, nulls: tuple[str, ...] = tuple(NULLS)) -> None:
    rows = start + np.linspace(0.0, 0.5, steps)[:, None].repeat(2, 1)
    with h5py.File(path, "w") as file:
        file["observations/qpos"], file["action"] = rows, rows
        file["tokens/language"], file["tokens/images"] = np.ones((3, 5)), np.ones((steps, 12, 6))
        for name in nulls:
            file[f"tokens/{name}_null"] = NULLS[name]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder of one episode, and a published recipe of a network that fits it."""
    monkeypatch.setattr(presets, "STREAMS", STREAMS)
    monkeypatch.setitem(SIZES, "170m", {"width": 16, "depth": 2, "heads": 2})
    (tmp_path / "embodiment.json").write_text(json.dumps(load("reach").config()))
    recorded(tmp_path / "a.hdf5")
    return tmp_path


def test_every_condition_is_missing_at_its_rate_and_the_state_is_noisy(small: Path, monkeypatch: Any) -> None:
    training = presets.rdt_170m(open_episodes(small), batch=8)
    assert training.drop == {"frequency": 0.1, "indicator": 0.1, "state": 0.1, "language": 0.1}
    settings = training.objective.config()
    assert settings["view_rates"] == [0.1] * 6 and settings["snr"] == 40.0
    data = chunks_of(open_episodes(small), training.pipeline)
    shown: list[Any] = []
    net = training.pipeline.backbone
    forward = type(net).forward

    def kept(self: Any, x: Any, t: Any, cond: Any, ctx: Any) -> Any:
        shown.append(cond)
        return forward(self, x, t, cond, ctx)

    monkeypatch.setattr(type(net), "forward", kept)
    batch = default_collate([data[i % len(data)] for i in range(600)])
    assert torch.isfinite(batch_loss(training, batch, Keyed(range(1_000_000, 1_000_600))).total)
    (cond,) = shown
    share = {
        "language": (cond["language"].value[:, 0, 0] == 7),
        "frequency": cond["frequency"].value == 0,
        "indicator": ~cond["indicator"].value[:, 0].any(-1),
        **{f"view {i}": cond["images"].value[:, 2 * i, 0] == 8 for i in range(6)},
    }  # fmt: skip
    for name, gone in share.items():
        assert gone.float().mean().item() == pytest.approx(0.1, abs=0.04), name
    # A view is missing as a whole, by the tokens of a picture without content, in their order.
    images = cond["images"].value
    assert torch.equal(images[:, ::2, 0] == 8, images[:, 1::2, 0] == 9) and set(images.unique().tolist()) == {1, 8, 9}
    rows = np.linspace(0.0, 0.5, 20)
    told, noisy = batch["state"][:, 30], cond["state"].value[:, 0, 30]
    mean = (noisy - rows.mean()).abs() < 5 * 0.01 * rows.std()
    off = (noisy - told)[(noisy - told).abs() < 5 * 0.01 * rows.std()]
    assert off.std().item() == pytest.approx(0.01 * rows.std(), rel=0.15)
    assert (mean & ((told - rows.mean()).abs() > 0.05)).float().mean().item() == pytest.approx(0.09, abs=0.04)


def test_the_mean_state_of_a_slot_is_that_of_the_robots_that_have_it(tmp_path: Path) -> None:
    robot = load("reach").config()
    other = {**robot, "name": "other", "state": robot["state"][:1], "action": robot["action"][:1]}
    found = []
    for name, config, width in (("one", robot, 2), ("two", other, 1)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "embodiment.json").write_text(json.dumps(config))
        rows = np.full((10, 2), 0.2 if name == "one" else 0.6)[:, :width]
        with h5py.File(tmp_path / name / "a.hdf5", "w") as file:
            file["observations/qpos"], file["action"] = rows, rows
        found += open_episodes(tmp_path / name).episodes
    mean, std = presets._moments(Episodes(found))
    assert mean[30] == pytest.approx(0.4) and std[30] == pytest.approx(0.2)
    assert mean[31] == pytest.approx(0.2) and std[31] == pytest.approx(0.0, abs=1e-6) and not any(mean[32:])


@pytest.mark.parametrize("missing", list(NULLS))
def test_data_without_the_tokens_of_nothing_are_refused(missing: str, small: Path) -> None:
    recorded(small / "b.hdf5", nulls=tuple(name for name in NULLS if name != missing))
    with pytest.raises(InputError, match=rf"b\.hdf5 without tokens/{missing}_null"):
        presets.rdt_170m(open_episodes(small))


def test_tokens_of_nothing_must_fill_the_views() -> None:
    part = Precomputed("images", 6, 12, absent=6)
    fields = {"images": torch.ones(2, 12, 6), "images_null": torch.ones(2, 3, 6)}
    with pytest.raises(InputError, match="18 tokens of 6 views; accepted: 12"):
        part.targets(fields)
