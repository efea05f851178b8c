"""Strings in, strings out: given words, files, and everything that is refused."""

from __future__ import annotations

import io as streams
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gencore import components
from gencore.categorical import TokenPrediction
from gencore.cli import main
from gencore.conditioner import Unconditional
from gencore.errors import InputError
from gencore.nn.init import seeded
from gencore.pipeline import Defaults, Pipeline
from gencore.processes.absorbing import Absorbing
from gencore.recipe import read_recipe
from gencore.testing.conformance.subject import awaken
from gencore.transforms.edlm import EnergyCorrection
from gencore_text import energies, io, presets
from gencore_text.backbones.causal import CausalTransformer
from gencore_text.backbones.energy import EnergyNet
from gencore_text.data import open_text
from gencore_text.given import lay_out
from gencore_text.modality import Text
from gencore_text.spelling import tokens_of
from gencore_text.terminal import CLOSED, View
from gencore_text.tokenizers.alphabet27 import Alphabet27
from gencore_text.tokenizers.bytes import Bytes
from gencore_text.tokenizers.sentencepiece import SentencePiece

L = 32
NETWORK: dict[str, Any] = {"width": 32, "depth": 1, "heads": 2, "dropout": 0.0}
CASES = ["ancestral", "confidence", "tweedie", "block:size=5"]


@pytest.fixture(scope="module")
def pipe() -> Pipeline:
    """The preset "tiny", untrained, with random weights in place of zeros."""
    made = presets.tiny(None).pipeline  # type: ignore[arg-type]
    awaken(made.backbone)
    return made


def other(pipe: Pipeline, net: Any, tokenizer: Any = None) -> Pipeline:
    awaken(net)
    return Pipeline(modality="text", tokenizer=tokenizer or pipe.tokenizer, conditioner=Unconditional(), backbone=net,
                    process=pipe.process, defaults=Defaults("block:size=1", 1))  # fmt: skip


@pytest.fixture(scope="module")
def packaged(pipe: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models in the layout of the packaged ones."""
    folder = tmp_path_factory.mktemp("default")
    with seeded(1):
        causal = CausalTransformer(TokenPrediction(260, 256), **NETWORK)
        contrast = EnergyNet(260, cond_dim=8, **NETWORK)
        symbols = CausalTransformer(TokenPrediction(28, 27), **NETWORK)
    pipe.save_pretrained(folder / "kjv")
    other(pipe, causal).save_pretrained(folder / "kjv-ar")
    other(pipe, contrast).save_pretrained(folder / "kjv-nce")
    strange = other(pipe, symbols, Alphabet27(L))
    strange.process = Absorbing(27)
    strange.save_pretrained(folder / "symbols")
    return folder


@pytest.fixture(autouse=True)
def default(packaged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energies, "packaged_default", lambda name: packaged / "kjv")


def test_the_prompt_is_part_of_the_text(pipe: Pipeline) -> None:
    out = pipe.generate(prompt="In the beginning", steps=4, seed=3, n=2)
    assert len(out.texts) == 2 and out.texts[0] != out.texts[1]
    assert all(text.startswith("In the beginning") for text in out.texts)
    assert out.tensor.shape == (2, L) and out.tensor.dtype == torch.int64


@pytest.fixture(scope="module")
def pieces() -> Pipeline:
    """As `pipe`, over pieces of words, which hold the space before them."""
    pytest.importorskip("sentencepiece")
    tokenizer = SentencePiece.train(open_text(None).corpus.documents, vocab=600, length=L)
    made = presets._masked(tokenizer, {**NETWORK, "cond_dim": 8}, steps=1, batch=1, seed=0).pipeline
    awaken(made.backbone)
    return made


@pytest.mark.parametrize("sampler", CASES)
def test_the_space_before_a_blank_is_the_first_of_what_fills_it(pieces: Pipeline, sampler: str) -> None:
    """Tokenised by itself it would be a piece that no text holds before a word."""
    tokenizer = cast("SentencePiece", pieces.tokenizer)
    refusing = EnergyCorrection(energies.of_texts(lambda text: -len(text), tokenizer), 3)
    first, second = tokenizer.ids("And the"), tokenizer.ids(" of the")
    for options in ({}, {"transforms": [refusing]}):
        out = pieces.generate(infill="And the ___ of the ___3.", sampler=sampler, steps=3, seed=0, n=4, **options)
        for row, text in zip(out.tensor.tolist(), out.texts, strict=True):
            assert row[: len(first)] == first and row[len(first)] in tokenizer.spaced
            rest = row[len(first) + 2 :]
            assert rest[: len(second)] == second and rest[len(second)] in tokenizer.spaced
            assert rest[len(second) + 3 :] == tokenizer.ids(".") and text.startswith("And the ")
    assert [part["name"] for part in out.recipe["implied"]] == ["SpaceFirst"]


def test_spaces_before_blanks_are_kept_in_a_text_of_several_windows(pieces: Pipeline) -> None:
    tokenizer = cast("SentencePiece", pieces.tokenizer)
    place = len(tokenizer.ids("And the"))
    layout = lay_out(tokenizer, infill="And the ___ of", length=2 * L, context=L)
    assert layout.spaced == (place,) and bool(layout.free[0, 0, place])
    free = pieces.generate(prompt="And the", length=2 * L, steps=3, seed=0, n=8).tensor[:, place]
    assert not {int(i) for i in free} <= tokenizer.spaced, "without a blank any piece may come"
    held = pieces.generate(infill="And the ___ of", length=2 * L, steps=3, seed=0, n=8).tensor
    assert {int(i) for i in held[:, place]} <= tokenizer.spaced
    # The same place of a later window is bound by nothing.
    assert not {int(i) for i in held[:, place + L // 2]} <= tokenizer.spaced


def test_a_blank_is_about_a_word(pipe: Pipeline, pieces: Pipeline) -> None:
    for model, width in ((pipe, 8), (pieces, 2)):
        tokenizer: Any = model.tokenizer
        layout = lay_out(tokenizer, infill="a___b", context=L)
        assert int(layout.free.sum()) == width and layout.spaced == ()
        assert int(lay_out(tokenizer, infill="a ___b", blank=5, context=L).free.sum()) == 5


def test_a_prompt_for_each_sample(pipe: Pipeline, packaged: Path, tmp_path: Path, capsys: Any) -> None:
    words: dict[str, Any] = {"prompt": ["In the", "And God said"], "length": 20, "steps": 3}
    out = pipe.generate(**words, seed=4)
    assert [text[:n] for text, n in zip(out.texts, (6, 12), strict=True)] == words["prompt"]
    for i, prompt in enumerate(words["prompt"]):
        assert pipe.generate(**{**words, "prompt": prompt}, seed=4 + i).texts == [out.texts[i]]
    assert pipe.generate(**words, seed=4, batch=1).texts == out.texts
    out.save(tmp_path / "two.txt")
    assert main(["reproduce", str(tmp_path / "two.txt"), "--model", str(packaged / "kjv"), "--quiet"]) == 0
    assert "equal: 2 of 2" in capsys.readouterr().out


def test_a_file_is_read_back_as_the_tokens_it_was_made_of(pieces: Pipeline, pipe: Pipeline, tmp_path: Path,
                                                          capsys: Any) -> None:  # fmt: skip
    """Drawn pieces are seldom those that the tokenizer would write the text in."""
    text, out = Text(), pieces.generate(n=2, steps=2, seed=0)
    assert pieces.tokenizer.ids(out.texts[0]) != out.tensor[0].tolist()  # type: ignore[attr-defined]
    text.save(out, tmp_path / "two.txt")
    assert torch.equal(text.load(tmp_path / "two.txt", pieces), out.tensor)
    for i, file in enumerate(text.save(out, tmp_path / "many")):
        assert torch.equal(text.load(file, pieces), out.tensor[i : i + 1])
    model = str(pieces.save_pretrained(tmp_path / "model"))
    for file in (tmp_path / "two.txt", tmp_path / "many" / "seed-1.txt"):
        assert main(["reproduce", str(file), "--model", model, "--quiet"]) == 0, capsys.readouterr().err
    one = pieces.generate(steps=2, seed=0)
    text.save(one, tmp_path / "one.txt")
    (tmp_path / "one.txt").write_text("And the man")
    assert text.load(tmp_path / "one.txt", pieces).tolist() == [pieces.tokenizer.ids("And the man")]  # type: ignore[attr-defined]
    text.save(pipe.generate(prompt="x" * L, seed=0, steps=1), tmp_path / "letters.txt")
    assert "tokens" not in read_recipe(tmp_path / "letters.txt"), "what the text tells by itself"


@pytest.mark.parametrize("kept", [3, [3], [["x"]], [[10**6]], [[4]], [[5], [6]]])
def test_a_recipe_with_other_tokens_is_not_believed(pieces: Pipeline, kept: Any) -> None:
    tokenizer: Any = pieces.tokenizer
    assert tokens_of(tokenizer, ["And"], kept) == [tokenizer.ids("And")]


@pytest.mark.parametrize("sampler", CASES)
def test_given_words_are_bit_exact_with_every_sampler(pipe: Pipeline, sampler: str) -> None:
    words: dict[str, Any] = {"infill": "the ___ of the ___3 n\u00e9", "energy": "ar", "candidates": 3}
    out = pipe.generate(**words, sampler=sampler, steps=3, seed=0)
    ids, tokens = out.tensor[0].tolist(), pipe.tokenizer.ids  # type: ignore[attr-defined]
    first, second, third = tokens("the "), tokens(" of the "), tokens(" n\u00e9")
    assert len(ids) == len(first) + 8 + len(second) + 3 + len(third)
    assert ids[:4] == first and ids[12:20] == second and ids[23:] == third
    assert pipe.tokenizer.mask_id not in ids  # type: ignore[attr-defined]


def test_beginning_end_and_length(pipe: Pipeline) -> None:
    (text,) = pipe.generate(prompt="In", suffix="Amen.", length=20, steps=2, seed=1).texts
    assert text.startswith("In") and text.endswith("Amen.")
    assert pipe.generate(length=9, steps=1, seed=0).tensor.shape == (1, 9)
    assert pipe.generate(prompt="x" * L, steps=1, seed=0).texts == ["x" * L]


def test_windows_go_on_beyond_the_context(pipe: Pipeline) -> None:
    """The network never sees more than its context, and what is written stays."""
    seen = []
    handle = pipe.backbone.register_forward_pre_hook(lambda net, args: seen.append(args[0].shape[1]))
    try:
        states = [p.step.x for p in pipe.stream(prompt="In the", length=75, suffix="Amen.", steps=2, seed=0, n=2)]
    finally:
        handle.remove()
    assert set(seen) == {L} and states[-1].shape == (2, 75)
    assert not bool((states[-1] == 256).any()) and bytes(states[-1][0, -5:].tolist()) == b"Amen."
    for before, after in pairwise(states):
        opened = before != 256
        assert torch.equal(after[opened], before[opened])
    # Windows start at 0, 16, 32 and 43: each is filled before the next begins.
    masked = [(state[0] == 256).nonzero().flatten().tolist() for state in states]
    assert masked[2] == list(range(32, 70)) and masked[5] == list(range(48, 70))


def test_a_long_text_reproduces_and_one_window_is_the_inner_sampler(pipe: Pipeline, tmp_path: Path) -> None:
    out = pipe.generate(prompt="In the", length=50, steps=2, seed=0)
    again = pipe.generate(prompt="In the", length=50, steps=2, seed=0,
                          sampler=components.build("sampler", out.recipe["sampler"]))  # fmt: skip
    assert again.recipe == out.recipe and out.recipe["sampler"]["inner"]["type"] == "ancestral"
    slid = pipe.generate(steps=3, seed=1, sampler="sliding:context=32,stride=9")
    assert slid.texts == pipe.generate(steps=3, seed=1).texts
    blocks = pipe.generate(length=70, steps=1, seed=1, sampler="block:size=7")
    assert not bool((blocks.tensor == 256).any())


def test_a_sample_alone_is_the_sample_of_a_batch(pipe: Pipeline) -> None:
    words = {"prompt": "And", "energy": "nce", "candidates": 4, "steps": 5}
    many = pipe.generate(**words, seed=5, n=3).texts
    assert [pipe.generate(**words, seed=5 + i).texts[0] for i in range(3)] == many
    assert pipe.generate(**words, seed=5, n=3, batch=2).texts == many


def test_an_energy_changes_the_draw_and_none_does_not(pipe: Pipeline) -> None:
    plain = pipe.generate(steps=3, seed=2).texts
    assert pipe.generate(steps=3, seed=2, energy="none").texts == plain
    assert pipe.generate(steps=3, seed=2, energy="ar", candidates=8).texts != plain
    outside = pipe.generate(steps=3, seed=2, energy="ar", candidates=8, energy_window="0.5/0.5")
    assert outside.texts == plain and outside.recipe["words"]["energy_window"] == "0.5/0.5"


def test_one_candidate_is_the_plain_law_whatever_its_energy(pipe: Pipeline) -> None:
    one = pipe.generate(steps=3, seed=2, energy="ar", candidates=1).texts
    assert pipe.generate(steps=3, seed=2, energy="nce", candidates=1).texts == one


def test_more_candidates_are_drawn_where_few_count(pipe: Pipeline) -> None:
    few: dict[str, Any] = {"energy": "ar", "candidates": 4, "steps": 2}
    plain, more = (pipe.generate(**few, effective=target, seed=6, n=2).texts for target in (None, 12.0))
    assert plain != more
    assert [pipe.generate(**few, effective=12, seed=6 + i).texts[0] for i in range(2)] == more


def test_energies_by_name_and_folder(pipe: Pipeline, packaged: Path) -> None:
    by_name = pipe.generate(steps=2, seed=0, energy="ar").texts
    assert pipe.generate(steps=2, seed=0, energy=str(packaged / "kjv-ar")).texts == by_name
    described = energies.named("ar:carry_over=true", pipe).config()
    assert described["carry_over"] is True and described["model"]["model"].startswith("blake2b:")
    assert energies.named("nce", pipe).config()["type"] == "network"


def test_a_judge_of_strings_steers(pipe: Pipeline) -> None:
    """A grammar that refuses the letter e at any place, by a transform of one's own."""
    judge = energies.of_texts(lambda text: -float("inf") if "e" in text else 0.0, pipe.tokenizer)  # type: ignore[arg-type]
    with_e = pipe.generate(n=12, seed=0, steps=1, sampler="ancestral:final=draw").texts
    without = pipe.generate(n=12, seed=0, steps=1, sampler="ancestral:final=draw",
                            transforms=[EnergyCorrection(judge, 16)]).texts  # fmt: skip
    assert any("e" in text for text in with_e) and not any("e" in text for text in without)


@pytest.mark.parametrize(
    "words, field, says",
    [
        ({"prompt": "x" * (L + 1)}, "prompt", f"at most {L}"),
        ({"prompt": "xxxx", "length": 3}, "prompt", "at most 3"),
        ({"prompt": "x" * (L + 1), "length": 2 * L}, "prompt", f"at most {L}"),
        ({"prompt": "xxxx", "suffix": "yy", "length": 5}, "prompt", "at most 3"),
        ({"suffix": "y" * (L + 1)}, "suffix", ""),
        ({"infill": "x" * L + "___"}, "infill", "40 tokens"),
        ({"infill": "no blank"}, "infill", "___"),
        ({"infill": "a ___0 b"}, "infill", "1 or more"),
        ({"infill": "a ___", "prompt": "a"}, "infill", "one of them"),
        ({"length": 0}, "length", f"1..{64 * L}"),
        ({"length": 64 * L + 1}, "length", f"1..{64 * L}"),
        ({"length": 8.5}, "length", "whole"),
        ({"size": (L + 1,)}, "size", "--length"),
        ({"length": L + 1, "known_mode": "compose_input"}, "known_mode", "replace_state"),
        ({"blank": 3}, "blank", "infill"),
        ({"blank": 0, "infill": "a ___"}, "blank", "1 or more"),
        ({"prompt": 7}, "prompt", "text"),
        ({"prompt": ["a", 7]}, "prompt", "one text a sample"),
        ({"prompt": []}, "prompt", "empty list"),
        ({"prompt": ["a", "b"], "n": 3}, "n", "2, the number of prompts"),
        ({"prompt": ["a", "x" * L], "suffix": "y"}, "prompt", "one length"),
        ({"prompt": "\ud800"}, "text", "Unicode"),
        ({"energy": "ar", "candidates": 0}, "candidates", "1 or more"),
        ({"energy": "ar", "candidates": "many"}, "candidates", "whole"),
        ({"energy": "ar", "candidates": 4, "effective": 33}, "target", "1..32"),
        ({"energy": "ar", "effective": True}, "effective", "number"),
        ({"energy": "ar", "energy_window": "0.2/0.8"}, "energy window", "start >= end"),
        ({"energy": "ar", "energy_window": "0.5"}, "energy_window", "start/end"),
        ({"energy": "ar", "energy_temperature": 0}, "energy temperature", "more than 0"),
        ({"energy": "are"}, "energy", "none, the folder of a model"),
        ({"energy": "ar:carry=true"}, "energy", "carry_over"),
        ({"energy": "nce:carry_over=true"}, "energy", "carry_over"),
        ({"energy": 3}, "energy", "transforms"),
        ({"candidates": 4}, "candidates", "--energy"),
        ({"prompt": "a", "size": (9,)}, "size", "--length"),
        ({"prompt": "a", "known": "b", "mask": "1"}, "prompt", "one way"),
        ({"known": torch.tensor([[256, 1]]), "mask": "01"}, "known", "no mask"),
        ({"known": "x" * (L + 1), "mask": "1" * (L + 1)}, "known", f"1..{L}"),
        ({"known": "abc", "mask": "01"}, "mask", "3"),
        ({"known": "abc", "mask": "0x1"}, "mask", "made anew"),
        ({"promt": "a"}, "option", "prompt"),
    ],
)  # fmt: skip
def test_words_that_make_no_sense_are_refused(pipe: Pipeline, words: dict[str, Any], field: str, says: str) -> None:
    with pytest.raises(InputError) as fault:
        pipe.generate(**words, steps=1, seed=0)
    assert fault.value.field == field and says in str(fault.value) and "\n" not in str(fault.value)


def test_an_energy_over_another_vocabulary_is_refused(pipe: Pipeline, packaged: Path) -> None:
    with pytest.raises(InputError, match=r"28 tokens of 'alphabet27'.*260 tokens of 'bytes'"):
        pipe.generate(energy=str(packaged / "symbols"), steps=1)
    with pytest.raises(InputError, match="DDiT"):
        pipe.generate(energy=str(packaged / "kjv"), steps=1)


def test_a_prompt_outside_the_vocabulary_is_refused() -> None:
    with pytest.raises(InputError, match="a to z"):
        lay_out(Alphabet27(8), prompt="H\u00e9", context=8)


def test_an_energy_is_no_denoiser(pipe: Pipeline) -> None:
    with seeded(0):
        net = EnergyNet(260, cond_dim=8, **NETWORK)
    with pytest.raises(InputError, match="--energy"):
        other(pipe, net).generate(steps=1)


def test_known_files_keep_what_the_mask_keeps(pipe: Pipeline, tmp_path: Path) -> None:
    known, mask = tmp_path / "known.txt", tmp_path / "mask.txt"
    known.write_text("abcdef")
    mask.write_text("011100\n")
    (text,) = pipe.generate(known=known, mask=mask, steps=3, seed=4).texts
    whole = io.to_bytes(text)
    assert len(whole) == 6 and whole[:1] == b"a" and whole[4:] == b"ef"
    recipe = pipe.generate(known=known, mask=mask, steps=1, seed=4).recipe
    assert recipe["known"]["files"] == ["known.txt", "mask.txt"]


def test_a_file_holds_the_text_and_its_recipe_beside_it(pipe: Pipeline, tmp_path: Path) -> None:
    out = pipe.generate(prompt="In the", length=12, steps=2, seed=0)
    path = tmp_path / "out.txt"
    out.save(path)
    assert path.read_bytes() == io.to_bytes(out.texts[0])
    assert read_recipe(path) == out.recipe
    assert torch.equal(pipe.modality.load(path, pipe), out.tensor)
    assert pipe.modality.difference(out, path, out.recipe).equal == 1
    path.write_bytes(b"In the" + b"!" * 6)
    told = pipe.modality.difference(out, path, out.recipe)
    assert told.equal == 0 and told.largest == "6 characters"
    path.write_bytes(b"In")
    assert pipe.modality.difference(out, path, out.recipe).equal == 0


def test_several_samples_are_pages_or_files(pipe: Pipeline, tmp_path: Path) -> None:
    out = pipe.generate(length=7, steps=2, seed=3, n=3)
    out.save(tmp_path / "all.txt")
    assert torch.equal(pipe.modality.load(tmp_path / "all.txt", pipe), out.tensor)
    assert pipe.modality.difference(out, tmp_path / "all.txt", out.recipe).equal == 3
    files = out.save(tmp_path / "each")
    assert [file.name for file in files] == ["seed-3.txt", "seed-4.txt", "seed-5.txt"]
    assert pipe.modality.load(files[1], pipe).tolist() == out.tensor[1:2].tolist()
    with pytest.raises(InputError, match="exists"):
        out.save(tmp_path / "each")


def test_a_refused_save_leaves_nothing(pipe: Pipeline, tmp_path: Path) -> None:
    out = pipe.generate(length=4, steps=1, seed=0)
    (tmp_path / "a.txt.recipe.json").write_text("mine")
    with pytest.raises(InputError, match="exists"):
        out.save(tmp_path / "a.txt")
    with pytest.raises(InputError, match=r"\.txt"):
        out.save(tmp_path / "a.png")
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt.recipe.json"]


PAGES = st.lists(st.text(st.characters(exclude_categories=["Cs"]) | st.just("\f") | st.just("\n"), max_size=9),
                 min_size=1, max_size=4)  # fmt: skip


@given(PAGES)
def test_pages_are_cut_where_they_were_joined(pages: list[str]) -> None:
    assert io.split(io.to_text(io.to_bytes(io.join(pages))), len(pages)) == pages


@given(st.binary(max_size=40))
def test_any_bytes_come_back_from_their_text(content: bytes) -> None:
    assert io.to_bytes(io.to_text(content)) == content
    assert Bytes(40).ids(io.to_text(content)) == list(content)


@given(st.text("ab", max_size=5), st.integers(1, 6), st.text("ab", max_size=5), st.integers(1, 6))
def test_blanks_are_where_they_are_written(first: str, m: int, second: str, n: int) -> None:
    layout = lay_out(Bytes(99), infill=f"{first}___{m}{second}c_____", blank=n, context=99)
    expected = [0] * len(first) + [1] * m + [0] * (len(second) + 1) + [1] * n
    assert layout.free[0, 0].int().tolist() == expected
    kept = [i for i, free in zip(layout.ids[0].tolist(), expected, strict=True) if not free]
    assert bytes(kept).decode() == first + second + "c"


class Terminal(streams.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_view_opens_tokens_step_by_step(pipe: Pipeline) -> None:
    out = Terminal()
    view = View(pipe, out)
    texts = []
    for progress in pipe.stream(prompt="In the", length=12, steps=4, seed=0):
        view(progress)
        texts.append(pipe.tokenizer.text(progress.step.x[0].tolist(), CLOSED))  # type: ignore[attr-defined]
    frames = out.getvalue().split("\x1b[0J")[1:]
    assert len(frames) == len(texts) == 5
    closed = [frame.count(CLOSED) for frame in frames]
    assert closed == [text.count(CLOSED) for text in texts] and closed[0] > closed[-1] == 0
    assert all("In the" in frame for frame in frames) and any("\x1b[1m" in frame for frame in frames[1:])
    view.close()
    assert out.getvalue().endswith("\x1b[0J")


def test_the_view_prints_plain_lines_elsewhere(pipe: Pipeline) -> None:
    out = streams.StringIO()
    view = View(pipe, out)
    for progress in pipe.stream(prompt="In\nit", length=8, steps=2, seed=0):
        view(progress)
    view.close()
    lines = out.getvalue().splitlines()
    assert [line.split()[1] for line in lines] == ["1/3", "2/3", "3/3"]
    assert "\x1b" not in out.getvalue() and all("In it" in line for line in lines)


def test_previews_are_whole_texts(pipe: Pipeline) -> None:
    for progress in pipe.stream(prompt="In the", steps=3, seed=0):
        (text,) = progress.preview
        assert text.startswith("In the") and CLOSED not in text
    assert progress.output is not None and progress.output.texts == [text]


def test_html_shows_the_text_as_it_is(pipe: Pipeline, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"<b> \xff")
    assert Text().html(path) == "<pre>&lt;b&gt; \ufffd</pre>"
