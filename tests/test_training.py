"""Training: the same run whatever interrupts it, and a loss that falls."""

from __future__ import annotations

import csv
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from gencore.data import Data
from gencore.denoiser import NotFinite
from gencore.errors import InputError
from gencore.loading import load_folder
from gencore.models import WEIGHTS
from gencore.noise import Keyed
from gencore.objectives.flow import FlowMatching
from gencore.testing.tiny import tiny_items, tiny_pipeline, tiny_training
from gencore.training.batches import StepBatches
from gencore.training.callbacks import LAST, METRICS, MODEL, PREVIEWS, Previews
from gencore.training.estimate import estimate
from gencore.training.finetune import adapted, fine_tuning
from gencore.training.module import batch_loss
from gencore.training.preset import Training
from gencore.training.run import Outcome, fit
from gencore.weights.files import read_tensors


class Toy(Data):
    classes = tuple("0123456789")

    def __init__(self, count: int = 24) -> None:
        images, labels = tiny_items(count)
        self.images, self.labels = images[:, None].float() / 127.5 - 1, labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"data": self.images[index], "label": int(self.labels[index])}


class InterruptAt(Callback):
    """Sends this process the signal of a Ctrl-C after micro-batch number `at`."""

    def __init__(self, at: int, times: int = 1) -> None:
        self.at, self.times, self.seen = at, times, 0

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *rest: Any) -> None:
        self.seen += 1
        if self.seen == self.at:
            for _ in range(self.times):
                os.kill(os.getpid(), signal.SIGINT)


def rows(folder: Path) -> list[tuple[int, float, float]]:
    with (folder / METRICS).open() as file:
        return [(int(row["step"]), float(row["loss"]), float(row["lr"])) for row in csv.DictReader(file)]


def weights(folder: Path) -> bytes:
    return (folder / MODEL / WEIGHTS).read_bytes()


def state(folder: Path) -> dict[str, Any]:
    return torch.load(folder / LAST, weights_only=True)


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    return a == b


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty steps without an interrupt."""
    folder = tmp_path_factory.mktemp("whole")
    assert fit(tiny_training(Toy()), Toy(), folder, every=8) == Outcome(20, False)
    return folder


def test_a_run_leaves_a_curve_previews_and_a_model_that_generates(whole: Path) -> None:
    assert [step for step, _, _ in rows(whole)] == list(range(1, 21))
    assert sorted(p.name for p in (whole / PREVIEWS).iterdir()) == [f"step-{k:06d}.png" for k in (8, 16, 20)]
    pipe = load_folder(whole / MODEL)
    assert torch.isfinite(pipe.generate(label=3, seed=0).tensor).all()
    assert not [p for p in whole.rglob("*") if ".part" in p.name]


def test_a_preview_that_fails_costs_no_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any) -> None:
        raise RuntimeError("no picture")

    with monkeypatch.context() as patched:
        patched.setattr(Previews, "step", fail)
        with pytest.raises(RuntimeError, match="no picture"):
            fit(tiny_training(Toy()), Toy(), tmp_path, every=1)
    assert state(tmp_path)["global_step"] == 1 and load_folder(tmp_path / MODEL)


def test_the_rate_warms_up_and_decays_as_the_preset_says(whole: Path) -> None:
    training, rates = tiny_training(Toy()), [rate for _, _, rate in rows(whole)]
    assert rates[:4] == pytest.approx([training.lr * k / 4 for k in (1, 2, 3, 4)])
    assert rates[4] == pytest.approx(training.lr) and rates[12] == pytest.approx(training.lr / 2)
    assert rates[4:] == sorted(rates[4:], reverse=True)


def test_the_saved_model_is_the_average_of_the_weights(whole: Path) -> None:
    saved, checkpoint = read_tensors(whole / MODEL / WEIGHTS)[0], state(whole)["state_dict"]
    for name, value in saved.items():
        assert torch.equal(value, checkpoint[f"ema.module.{name}"])
    assert any(not torch.equal(saved[name], checkpoint[f"net.{name}"]) for name in saved)


@pytest.mark.parametrize("at", [1, 7, 10])
def test_an_interrupted_and_resumed_run_is_the_uninterrupted_one(whole: Path, tmp_path: Path, at: int) -> None:
    assert fit(tiny_training(Toy()), Toy(), tmp_path, every=8, callbacks=(InterruptAt(at),)) == Outcome(at, True)
    assert [step for step, _, _ in rows(tmp_path)] == list(range(1, at + 1))
    assert fit(tiny_training(Toy()), Toy(), tmp_path, every=8) == Outcome(20, False)
    assert weights(tmp_path) == weights(whole) and rows(tmp_path) == rows(whole)
    there, here = state(whole), state(tmp_path)
    for part in ("state_dict", "optimizer_states", "lr_schedulers", "global_step"):
        assert equal(there[part], here[part]), part


def test_a_run_with_muon_resumes_too(tmp_path: Path) -> None:
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    training = replace(tiny_training(Toy()), optimizer="muon")
    fit(training, Toy(), tmp_path / "whole", every=8)
    training = replace(tiny_training(Toy()), optimizer="muon")
    fit(training, Toy(), tmp_path / "cut", every=8, callbacks=(InterruptAt(5),))
    training = replace(tiny_training(Toy()), optimizer="muon")
    assert fit(training, Toy(), tmp_path / "cut", every=8) == Outcome(20, False)
    assert weights(tmp_path / "cut") == weights(tmp_path / "whole")


def test_rows_after_the_checkpoint_are_dropped_on_resuming(whole: Path, tmp_path: Path) -> None:
    fit(tiny_training(Toy()), Toy(), tmp_path, every=8, callbacks=(InterruptAt(5),))
    with (tmp_path / METRICS).open("a") as file:
        file.write("6,1.0,0.1\n7,1.0,0.1\n8,1.")
    fit(tiny_training(Toy()), Toy(), tmp_path, every=8)
    assert rows(tmp_path) == rows(whole)


def test_micro_batches_resume_too_and_are_the_whole_batch(whole: Path, tmp_path: Path) -> None:
    """The tenth of micro-batches two by two is in the middle of no step; an interrupt waits for the step's end."""
    for number, callbacks in ((9, (InterruptAt(9),)), (20, ())):
        outcome = fit(tiny_training(Toy()), Toy(), tmp_path, accumulate=2, every=100, callbacks=callbacks)
        assert outcome == (Outcome(5, True) if number == 9 else Outcome(20, False))
    assert [r[0] for r in rows(tmp_path)] == list(range(1, 21))
    for (_, loss, _), (_, other, _) in zip(rows(tmp_path), rows(whole), strict=True):
        assert loss == pytest.approx(other, rel=1e-4)


def test_a_second_signal_leaves_at_once_and_what_is_on_disk_is_whole(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(SystemExit) as caught:
        fit(tiny_training(Toy()), Toy(), tmp_path, every=4, callbacks=(InterruptAt(6, times=2),))
    assert caught.value.code == 130 and signal.getsignal(signal.SIGINT) is before
    assert state(tmp_path)["global_step"] == 4
    load_folder(tmp_path / MODEL)
    assert not [p for p in tmp_path.rglob("*") if ".part" in p.name]


def test_one_step_lowers_the_loss_on_its_batch() -> None:
    training = tiny_training(Toy())
    batch = torch.utils.data.default_collate([Toy()[i] for i in range(8)])
    net = training.pipeline.backbone.train()
    optimiser = torch.optim.SGD(net.parameters(), lr=1e-2)

    def loss() -> Tensor:
        return batch_loss(training, batch, Keyed(range(8))).total

    before = loss()
    before.backward()
    optimiser.step()
    assert loss().item() < before.item()
    assert loss().item() == loss().item()


def test_training_learns_what_the_data_looks_like(tmp_path: Path) -> None:
    """A hundred and twenty steps bring samples nearer to their class's mean than an untrained network's are."""
    fit(tiny_training(Toy(), steps=120, batch=16), Toy(), tmp_path, every=1000)
    toy, labels = Toy(), list(range(10))
    means = torch.stack([toy.images[toy.labels == label].mean(0) for label in labels])
    gaps = [
        (pipe.generate(label=labels, seed=0, steps=12).tensor - means).square().mean().item()
        for pipe in (tiny_pipeline(), load_folder(tmp_path / MODEL))
    ]
    assert gaps[1] < 0.3 * gaps[0]
    losses = [loss for _, loss, _ in rows(tmp_path)]
    assert sum(losses[-20:]) < 0.7 * sum(losses[:20])


def test_a_loss_that_is_not_finite_is_one_line(tmp_path: Path) -> None:
    from dataclasses import replace

    training = replace(tiny_training(Toy(), steps=50), lr=1e3, clip=0.0, warmup=0)
    with pytest.raises(NotFinite, match=r"^loss: (nan|inf) at step \d+; try a lower --lr"):
        fit(training, Toy(), tmp_path)


def test_training_is_silent_and_leaves_global_randomness_alone(tmp_path: Path, capfd) -> None:
    before = torch.random.get_rng_state()
    fit(tiny_training(Toy(), steps=2), Toy(), tmp_path)
    assert tuple(capfd.readouterr()) == ("", "") and torch.equal(torch.random.get_rng_state(), before)


def test_a_disk_that_refuses_keeps_the_last_checkpoint(tmp_path: Path, monkeypatch) -> None:
    fit(tiny_training(Toy(), steps=4), Toy(), tmp_path)
    before = (tmp_path / LAST).read_bytes()
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(InputError, match=r"output: got .*last\.ckpt"):
            fit(tiny_training(Toy(), steps=6), Toy(), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / LAST).read_bytes() == before and not [p for p in tmp_path.rglob("*") if ".part" in p.name]


@pytest.mark.parametrize(("batch", "accumulate"), [(8, 3), (7, 2)])
def test_a_batch_that_does_not_divide_is_refused(tmp_path: Path, batch: int, accumulate: int) -> None:
    with pytest.raises(InputError, match=f"batch: got {batch} over 1 ranks x {accumulate}"):
        fit(tiny_training(Toy(), batch=batch), Toy(), tmp_path, accumulate=accumulate)
    with pytest.raises(InputError, match="a multiple"):
        estimate(tiny_training(Toy(), batch=batch), Toy(), accumulate=accumulate)


def test_ranks_share_each_batch_in_order() -> None:
    whole = list(StepBatches(11, 6, seed=3, stop=5))
    parts = [list(StepBatches(11, 6, seed=3, stop=5, rank=rank, ranks=2)) for rank in range(2)]
    assert [a + b for a, b in zip(*parts, strict=True)] == whole
    assert list(StepBatches(11, 6, seed=3, start=2, stop=5)) == whole[2:]
    first = [index for step in whole for index in step][:11]
    assert sorted(first) == list(range(11)) != first


# ---- fine-tuning and the dry run


def test_a_model_with_the_data_s_classes_is_kept_whole() -> None:
    pipe = tiny_pipeline()
    kept, note = adapted(pipe, tuple("0123456789"))
    assert kept is pipe and note == "10 of 10 tensor groups reused; 0 silent"


def test_other_classes_get_a_new_label_table_and_keep_the_rest() -> None:
    pipe = tiny_pipeline()
    fresh, note = adapted(pipe, ("cat", "dog", "eel"), seed=5)
    assert note == "9 of 10 tensor groups reused; label table new: 3 classes (was 10); 0 silent"
    old, new = pipe.backbone.state_dict(), fresh.backbone.state_dict()
    changed = [name for name, value in new.items() if not (name in old and torch.equal(old[name], value))]
    assert changed == ["conditioners.label.table.weight"] and len(new[changed[0]]) == 4
    assert torch.isfinite(fresh.generate(label="dog", seed=0).tensor).all()
    again, _ = adapted(pipe, ("cat", "dog", "eel"), seed=5)
    assert again.hash() == fresh.hash()


def test_as_many_but_other_classes_are_other_classes() -> None:
    _, note = adapted(tiny_pipeline(), tuple("abcdefghij"))
    assert "label table new: 10 classes (was 10)" in note


def test_labels_must_be_there_or_not_as_the_model_was_trained() -> None:
    with pytest.raises(InputError, match="data: got no labels; accepted: labels: one sub-folder a class"):
        adapted(tiny_pipeline(), ())


def test_fine_tuning_takes_the_objective_of_the_process() -> None:
    training = fine_tuning(tiny_pipeline(), steps=3, batch=4, seed=2)
    assert (training.steps, training.batch, training.seed) == (3, 4, 2)
    assert isinstance(training.objective, FlowMatching) and training.objective.process is training.pipeline.process


def test_an_estimate_counts_exactly_and_touches_nothing() -> None:
    training = tiny_training(Toy())
    before = training.pipeline.hash()
    told = estimate(training, Toy())
    assert told["parameters"] == sum(p.numel() for p in training.pipeline.backbone.parameters())
    assert told["memory_gb"] * 1e9 >= told["parameters"] * 20 - 5e5
    assert told["hours"] == pytest.approx(told["seconds_a_step"] * 20 / 3600, abs=1e-3)
    assert told["sample"].startswith("(1, 8, 8) in -1.00..")
    assert training.pipeline.hash() == before and not training.pipeline.backbone.training
    assert all(p.grad is None for p in training.pipeline.backbone.parameters())


def test_the_estimate_of_activations_grows_with_the_micro_batch() -> None:
    def activations(**how: int) -> float:
        training: Training = tiny_training(Toy(), batch=64)
        return estimate(training, Toy(), items=4, **how)["memory_gb"]

    one, two = activations(), activations(accumulate=2)
    weights = sum(p.numel() for p in tiny_pipeline().backbone.parameters()) * 20 / 1e9
    assert (one - weights) / (two - weights) == pytest.approx(2, rel=0.2)


def test_frozen_roles_are_given_to_the_objective_and_stay_out_of_training_and_files(tmp_path: Path) -> None:
    teacher = tiny_pipeline(seed=5).backbone
    before = {name: p.clone() for name, p in teacher.named_parameters()}

    class Imitate(FlowMatching):
        """Nears the teacher's prediction, through the same graph."""

        def loss(self, phase: str, roles: Any, batch: Any, noise: Any) -> Any:
            own = super().loss(phase, {"model": roles["model"]}, batch, noise)
            other = super().loss(phase, {"model": roles["teacher"]}, batch, noise)
            return type(own)(own.total + 0.1 * (own.total - other.total) ** 2, own.parts)

    training = tiny_training(Toy(), steps=3, batch=4)
    training = replace(training, objective=Imitate(training.objective.process), roles={"teacher": teacher})  # type: ignore[attr-defined]
    fit(training, Toy(), tmp_path, device="cpu")
    assert all(torch.equal(p, before[name]) and p.grad is None for name, p in teacher.named_parameters())
    kept = torch.load(tmp_path / LAST, weights_only=True)["state_dict"]
    assert not [name for name in kept if "teacher" in name]
    assert set(read_tensors(tmp_path / MODEL / WEIGHTS)[0]) == set(training.pipeline.backbone.state_dict())


def test_fine_tuning_takes_the_objective_the_card_names_whatever_else_the_card_says() -> None:
    pipe = tiny_pipeline()
    pipe.card = {"training": {"objective": {"type": "flow", "times": "uniform"}}}
    assert fine_tuning(pipe).objective.config()["times"] == "uniform"
    for card in ({"training": "by hand"}, {"training": {"objective": {}}}, {}):
        pipe.card = card
        assert fine_tuning(pipe).objective.config()["times"] == "logit_normal"
