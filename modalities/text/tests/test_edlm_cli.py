"""The command line: generate, its refusals, reproduce; what is written and what is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gencore.categorical import TokenPrediction
from gencore.cli import main
from gencore.conditioner import Unconditional
from gencore.nn.init import seeded
from gencore.pipeline import Defaults, Pipeline
from gencore.testing.conformance.subject import awaken
from gencore_text import energies, evaluation, presets
from gencore_text.backbones.causal import CausalTransformer


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``kjv`` and ``kjv-ar`` of the preset "tiny"'s size, with random weights."""
    folder = tmp_path_factory.mktemp("models")
    pipe = presets.tiny(None).pipeline  # type: ignore[arg-type]
    awaken(pipe.backbone)
    pipe.save_pretrained(folder / "kjv")
    with seeded(2):
        net = CausalTransformer(TokenPrediction(260, 256), width=32, depth=1, heads=2, dropout=0.0)
    awaken(net)
    Pipeline(modality="text", tokenizer=pipe.tokenizer, conditioner=Unconditional(), backbone=net,
             process=pipe.process, defaults=Defaults("block:size=1", 1)).save_pretrained(folder / "kjv-ar")  # fmt: skip
    return folder


@pytest.fixture(autouse=True)
def here(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(energies, "packaged_default", lambda name: models / "kjv")
    return tmp_path


def run(models: Path, *words: str, model: bool = True) -> int:
    return main([*words, *(["--model", str(models / "kjv")] if model else [])])


GENERATE = ("generate", "text", "--prompt", "In the", "--length", "24", "--seed", "0", "--steps", "5")


def test_a_corrected_text_is_written_and_reproduces(models: Path, here: Path, capsys: Any) -> None:
    words = (*GENERATE, "--energy", "ar", "--candidates", "4", "-n", "2", "-o", "out.txt")
    assert run(models, *words) == 0
    said = capsys.readouterr()
    assert said.out.startswith("out.txt  keeps 25 % of 24 cells  2 samples  seeds 0..1  ")
    assert said.out.strip().endswith("next unused seed: 2")
    assert sorted(file.name for file in here.iterdir()) == ["out.txt", "out.txt.recipe.json"]
    assert (here / "out.txt").read_bytes().startswith(b"In the")
    assert run(models, "reproduce", "out.txt", "--quiet") == 0
    assert capsys.readouterr().out == "equal: 2 of 2 samples bit-equal\n"
    before = (here / "out.txt").read_bytes()
    assert run(models, *words) == 2 and "--force" in capsys.readouterr().err
    assert run(models, *words, "--force", "--quiet") == 0 and (here / "out.txt").read_bytes() == before
    (here / "out.txt").write_bytes(before[:-1] + b"!")
    assert run(models, "reproduce", "out.txt", "--quiet") == 1


def test_a_folder_takes_a_file_a_sample_and_each_reproduces(models: Path, here: Path, capsys: Any) -> None:
    assert run(models, *GENERATE, "-n", "2", "-o", "many", "--quiet") == 0
    assert run(models, "reproduce", "many/seed-1.txt", "--quiet") == 0
    assert "equal: 1 of 1" in capsys.readouterr().out


def test_filling_in_keeps_the_words(models: Path, here: Path, capsys: Any) -> None:
    assert run(models, "generate", "text", "--infill", "the ___4 of", "--steps", "2", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    content = Path(told["files"][0]).read_bytes()
    assert content[:4] == b"the " and content[8:] == b" of" and told["kept"] == pytest.approx(7 / 11)


def test_the_view_is_shown_when_asked_for(models: Path, here: Path, capsys: Any) -> None:
    assert run(models, *GENERATE, "--live", "-o", "a.txt") == 0
    shown = capsys.readouterr().err.splitlines()
    assert len(shown) == 6 and shown[0].startswith("step 1/6 In the")
    assert run(models, *GENERATE, "-o", "b.txt") == 0
    assert "step" in capsys.readouterr().err and (here / "a.txt").read_bytes() == (here / "b.txt").read_bytes()
    assert run(models, *GENERATE, "--live", "--quiet", "-o", "c.txt") == 2
    assert not (here / "c.txt").exists()


@pytest.mark.parametrize(
    "words, says",
    [
        (["--prompt", "x" * 33], "at most 32, the model's context"),
        (["--energy", "ar", "--candidates", "0"], "candidates: got 0; accepted: 1 or more"),
        (["--energy", "no-such"], "none, the folder of a model"),
        (["--candidates", "3"], "--energy"),
        (["--infill", "the sea"], "blanks"),
        (["--length", "4000"], "1..2048"),
        (["--sampler", "ddim"], "discrete"),
        (["--known", "missing.txt", "--mask", "missing.txt"], "missing.txt"),
        (["--promt", "a"], "--prompt"),
        (["-o", "out.png"], ".txt"),
    ],
)
def test_refusals_are_one_line_and_write_nothing(models: Path, here: Path, capsys: Any, words: list[str], says: str
                                                 ) -> None:  # fmt: skip
    assert run(models, "generate", "text", "--steps", "1", *words) == 2
    said = capsys.readouterr()
    assert says in said.err and said.err.startswith("gencore: error: ") and said.err.count("\n") == 1
    assert not said.out and not list(here.iterdir())


def test_one_group_of_figures_alone(models: Path, capsys: Any) -> None:
    assert run(models, "evaluate", "text", "--metric", "bpc", "-n", "5", "--json", "--quiet") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["bpc"]["model"]["bits"] > told["bpc"]["xz"]["bits"] > 0 and "quality" not in told
    assert (told["items"], told["characters"]) == (5, 5 * 32)
    assert run(models, "evaluate", "text", "--metric", "bcp") == 2
    assert "did you mean 'bpc'?" in capsys.readouterr().err


def test_each_group_has_a_number_of_its_own(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr(evaluation, "evaluate", lambda pipe, data, *, n, **options: seen.append(n) or {})
    for words in (["--metric", "bpc"], ["--metric", "quality"], [], ["--metric", "bpc", "-n", "3"]):
        assert run(models, "evaluate", "text", *words, "--quiet") == 0
    assert seen == [192, 16, 16, 3]


def test_the_help_names_every_word(capsys: Any) -> None:
    with pytest.raises(SystemExit):
        main(["generate", "text", "--help"])
    text = capsys.readouterr().out
    for word in ("prompt", "suffix", "infill", "blank", "length", "energy", "candidates", "energy-window"):
        assert f"--{word}" in text
