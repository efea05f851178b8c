from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from gencore.errors import InputError
from gencore.metrics.elbo import MaskedBound
from gencore.pipeline import Pipeline
from gencore.transforms.energies import ResidualEnergy, ScoreEnergy
from gencore_text import evaluation, presets
from gencore_text.backbones.causal import CausalTransformer
from gencore_text.baselines.ngram import fit_ngram
from gencore_text.data import open_text
from gencore_text.figures import bits
from gencore_text.figures.bits import Texts, at_steps, of_correction, of_log_probs
from gencore_text.figures.quality import judged, sampled, speed_up, token_entropy

UNIFORM = math.log2(259)
"""Bits a byte of an untrained network: its head starts at 0, and the mask is no outcome."""


@pytest.fixture(scope="module")
def pipe():
    return presets.tiny(open_text(None)).pipeline


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("corpus") / "text.txt"
    path.write_text(open_text(None).corpus.documents[0][:20_000])
    return path


@pytest.fixture
def alone(monkeypatch):
    """No packaged energies, few steps."""
    monkeypatch.setattr(evaluation, "_energies", lambda pipe: ({}, {"ar": "none here"}))
    monkeypatch.setattr(evaluation, "STEPS", (2, 4))


def ngram_energy(pipe, k=3):
    tokens = open_text(None, pipe.tokenizer).tokens.astype(np.int64)
    model = fit_ngram(tokens, vocab=pipe.tokenizer.vocab, order=k)
    return ResidualEnergy(lambda rows: torch.from_numpy(model.log_probs(rows.numpy()))), model


def texts(pipe, count):
    data = open_text(None, pipe.tokenizer, held_out=True)
    rows = torch.stack([data[i]["data"] for i in range(count)])
    return Texts(rows, torch.full((count,), rows.shape[1]))


def test_bits_of_an_untrained_network_are_those_of_even_odds(pipe, corpus, alone):
    data, train = (open_text(corpus, pipe.tokenizer, held_out=held) for held in (True, False))
    found = evaluation.evaluate(pipe, data, n=99, train=train, metric="bpc")
    assert json.loads(json.dumps(found)) == found
    assert found["items"] == 31 and found["characters"] == 31 * 32
    rows = found["bpc"]
    assert rows["model"]["bits"] == pytest.approx(UNIFORM, abs=1e-5) and rows["model"]["stderr"] < 1e-5
    ngram, onward = [row for name, row in sorted(rows.items()) if name.startswith("ngram-")]
    assert 2 < onward["bits"] < ngram["bits"] < 3.5 and ngram["stderr"] > 0
    assert rows["xz_after_train"]["bits"] < rows["xz"]["bits"]
    assert "quality" not in found and found["left_out"] == {"ar": "none here"}


def test_training_text_is_not_needed(pipe, alone):
    found = evaluation.evaluate(pipe, open_text(None, pipe.tokenizer, held_out=True), n=5, metric="bpc")
    assert found["items"] == 5 and found["characters"] == 5 * 32 and set(found["bpc"]) == {"model", "xz", "bz2"}


def test_every_figure_is_of_the_same_characters(pipe, corpus, alone, monkeypatch):
    """Each measurer is shown the same items: those of `n`, evenly spread; the text before an item is known to the
    n-gram that reads on, and to it alone."""
    shown, energy = {}, ngram_energy(pipe)[0]
    monkeypatch.setattr(evaluation, "_energies", lambda pipe: ({"nce": energy}, {}))
    monkeypatch.setattr(evaluation, "bound", lambda pipe, texts, **_: shown.setdefault("bound", texts))
    monkeypatch.setattr(evaluation, "at_steps", lambda pipe, texts, *_, **__: shown.setdefault("steps", texts))
    monkeypatch.setattr(evaluation, "row", lambda found: {})
    monkeypatch.setattr(evaluation, "of_log_probs", lambda found, texts: {"bits": -float(found.mean())})
    monkeypatch.setattr(evaluation, "of_correction", lambda *args, **_: shown.setdefault("energy", args[4]) and {})
    monkeypatch.setattr(evaluation, "compressed_bits", lambda text, *_, **__: shown.setdefault("xz", text) and 0.0)
    data, train = (open_text(corpus, pipe.tokenizer, held_out=held) for held in (True, False))
    found = evaluation.evaluate(pipe, data, n=4, train=train, metric="bpc")
    rows = torch.stack([data[i]["data"] for i in (0, 7, 15, 23)])
    assert all(torch.equal(shown[name].tokens, rows) for name in ("bound", "steps", "energy"))
    assert shown["xz"] == "".join(pipe.tokenizer.text(row) for row in rows) and found["characters"] == 4 * 32
    model = evaluation._ngram(train)
    onward = model.log_probs(data.tokens.astype(np.int64))[: 31 * 32].reshape(-1, 32)[[0, 7, 15, 23]]
    assert found["bpc"][model.name]["bits"] == pytest.approx(-model.log_probs(rows.numpy()).mean())
    assert found["bpc"][f"{model.name}_reading_on"]["bits"] == pytest.approx(-onward.mean())


def test_an_energy_is_no_judge_of_its_own_samples(pipe, corpus, monkeypatch, alone):
    energies = {name: ngram_energy(pipe)[0] for name in ("ar", "nce")}
    monkeypatch.setattr(evaluation, "_energies", lambda pipe: (energies, {}))
    monkeypatch.setattr(evaluation, "_autoregressive", lambda energies: energies["ar"])
    monkeypatch.setattr(evaluation, "_as_judge", lambda model: ngram_energy(pipe)[1].log_probs)
    data = open_text(corpus, pipe.tokenizer, held_out=True)
    rows = evaluation.evaluate(pipe, data, n=2, metric="quality")["quality"]
    assert all("ngram_bits" in rows[who]["2"] for who in ("model", "edlm_ar", "edlm_nce"))
    assert {who for who in ("model", "edlm_ar", "edlm_nce") if "ar_bits" in rows[who]["2"]} == {"model", "edlm_nce"}


def test_an_autoregressive_network_is_measured_by_its_own_likelihood(pipe, alone):
    prediction = pipe.backbone.prediction
    net = CausalTransformer(prediction, width=8, depth=1, heads=2, dropout=0.0)
    ar = Pipeline(modality="text", tokenizer=pipe.tokenizer, conditioner=pipe.conditioner, backbone=net,
                  process=pipe.process)  # fmt: skip
    with torch.no_grad():
        net.final.linear.bias[:] = torch.randn(260, generator=torch.Generator().manual_seed(0))
    data = open_text(None, ar.tokenizer, held_out=True)
    found = evaluation.evaluate(ar, data, n=256, metric="bpc")
    # Only the bias speaks, so every byte has the same odds everywhere.
    odds = (net.final.linear.bias[torch.arange(260) != 256].double().log_softmax(0) / -math.log(2)).detach()
    rows = torch.stack([data[i * len(data) // 256]["data"] for i in range(256)])
    assert found["bpc"]["model"]["bits"] == pytest.approx(odds[rows].mean().item(), abs=1e-5)


def test_bits_are_a_character_and_not_a_token():
    rows = torch.tensor([[195, 169, 195, 169]])
    even = np.full((1, 4), -math.log(2))
    assert of_log_probs(even, Texts(rows, torch.tensor([2])))["bits"] == pytest.approx(2)


def test_the_error_of_bits_a_character_counts_that_texts_are_not_equally_long():
    """With the same bits in every text all of the error is that of their lengths: bits b over characters c have the
    ratio estimate sum b / sum c with sqrt(n / (n - 1) sum (b - ratio c)^2) / sum c."""
    rows, lengths = torch.zeros(2, 4, dtype=torch.int64), torch.tensor([4, 8])
    found = of_log_probs(np.full((2, 4), -math.log(2)), Texts(rows, lengths))
    ratio = 8 / 12
    assert found["bits"] == pytest.approx(ratio)
    assert found["stderr"] == pytest.approx(math.sqrt(2 * ((4 - ratio * 4) ** 2 + (4 - ratio * 8) ** 2)) / 12)


def test_the_bound_does_not_depend_on_the_batch(pipe):
    some = texts(pipe, 7)
    found = [bits.bound(pipe, some, draws=2, seed=3, batch=batch).bits for batch in (3, 7)]
    assert found[0] == pytest.approx(found[1], rel=1e-6)
    assert found[1] == pytest.approx(MaskedBound(pipe.backbone, pipe.process, draws=2, seed=3)(some.tokens).bits)


def bound_of(pipe, some):
    return MaskedBound(pipe.backbone, pipe.process, draws=1)(some.tokens)


def test_steps_of_even_odds(pipe):
    some = texts(pipe, 40)
    assert at_steps(pipe, some, 1, draws=1).bits == pytest.approx(UNIFORM, abs=1e-5)
    found = at_steps(pipe, some, 8, draws=8)
    assert found.stderr > 0 and abs(found.bits - UNIFORM) < 5 * found.stderr
    assert found.bits == pytest.approx(at_steps(pipe, some, 8, draws=8, batch=7).bits, rel=1e-6)


def test_an_energy_that_tells_nothing_gains_nothing(pipe):
    some = texts(pipe, 6)
    bound = bound_of(pipe, some)
    for level in (0.0, 40.0):
        constant = ScoreEnergy(lambda rows, level=level: torch.full((len(rows),), level, dtype=torch.float64))
        found = of_correction(pipe, constant, bound, bound, some, steps=4, candidates=3)
        assert found["bits"] == pytest.approx((UNIFORM - 4 * math.log2(3) / 32, UNIFORM), abs=1e-5)
        assert found["published"] == pytest.approx((UNIFORM, UNIFORM), abs=1e-5)
        assert found["published_effective"] == pytest.approx(6)


@pytest.mark.parametrize("k", [2, 4])
def test_the_gain_of_a_pick_is_the_law_of_the_pick(pipe, k):
    """Under even odds, in one step, with E = -3 where the first token is an 'A': p_k(x) / p(x) = k E[w_1] with the
    number m of other candidates that begin so binomial."""
    some = texts(pipe, 4)
    some.tokens[:, 0] = 65
    bound, a = bound_of(pipe, some), math.exp(3)
    energy = ScoreEnergy(lambda rows: 3.0 * (rows[:, 0] == 65).double())
    found = of_correction(pipe, energy, bound, bound, some, steps=1, candidates=k, repeats=40)
    chance = [math.comb(k - 1, m) * (1 / 259) ** m * (258 / 259) ** (k - 1 - m) for m in range(k)]
    gain = math.log2(k * sum(p * a / (a * (1 + m) + k - 1 - m) for m, p in enumerate(chance)))
    assert found["bits"][1] == pytest.approx(UNIFORM - gain / 32, abs=1e-3)
    assert gain < math.log2(k), "never more than the pick can tell"
    # What data do not have is punished, not rewarded.
    some.tokens[:, 0] = 66
    assert of_correction(pipe, energy, bound, bound, some, steps=1, candidates=k, repeats=40)["bits"][1] > UNIFORM


def test_the_same_texts_in_other_batches_give_the_same_interval(pipe, monkeypatch):
    some, (energy, _) = texts(pipe, 5), ngram_energy(pipe)
    bound, found = bound_of(pipe, some), []
    for batch in (2, 5):
        monkeypatch.setattr(bits, "_BATCH", batch)
        found.append(of_correction(pipe, energy, bound, bound, some, steps=4, candidates=3))
    assert found[0]["bits"] == pytest.approx(found[1]["bits"], rel=1e-6)
    assert found[0]["published"] == pytest.approx(found[1]["published"], rel=1e-6)
    assert found[0]["bits"][0] <= found[0]["bits"][1] and found[0]["published"][0] <= found[0]["published"][1]


def test_token_entropy():
    assert token_entropy(np.array([[0, 1, 2, 3], [0, 0, 0, 1], [5, 5, 5, 5]])) == pytest.approx(
        [2, 0.75 * math.log2(4 / 3) + 0.25 * 2, 0]
    )


def test_a_judge_of_even_odds_has_the_vocabulary_as_perplexity():
    found = judged(np.array([[1, 1], [2, 3]]), {"even": lambda tokens: np.full(tokens.shape, -math.log(8))})
    assert found["even_perplexity"] == pytest.approx(8) and found["even_stderr"] == 0
    assert found["entropy"] == pytest.approx(0.5)


def test_speed_up():
    curve = [(4.0, 3.0), (16.0, 2.0), (64.0, 1.5)]
    assert speed_up(curve, 4, 2.0) == pytest.approx(4)
    assert speed_up(curve, 16, 1.75) == pytest.approx(2)
    assert speed_up(curve, 4, 1.4) is None and speed_up(curve, 4, 3.1) is None


def test_correction_by_a_judge_is_seen_by_the_judge(pipe):
    energy, model = ngram_energy(pipe)
    judges = {"ngram": model.log_probs}
    plain = sampled(pipe, judges, n=8, steps=4, seed=0)
    better = sampled(pipe, judges, n=8, steps=4, seed=0, energy=energy, candidates=8)
    assert plain["calls"] <= 5 and plain["passes"] == plain["calls"] and "effective" not in plain
    assert better["passes"] == better["calls"] + 8 * 5 and 1 <= better["effective"] <= 8
    assert better["ngram_bits"] < plain["ngram_bits"]
    wrong = ResidualEnergy(lambda rows: -torch.from_numpy(model.log_probs(rows.numpy())))
    worse = sampled(pipe, judges, n=8, steps=4, seed=0, energy=wrong, candidates=8)
    assert worse["ngram_bits"] > plain["ngram_bits"], "the other sign makes samples worse"


def test_corrections_are_among_the_bits(pipe, corpus, monkeypatch):
    energy, _ = ngram_energy(pipe)
    monkeypatch.setattr(evaluation, "_energies", lambda pipe: ({"nce": energy}, {}))
    monkeypatch.setattr(evaluation, "STEPS", (2, 4))
    found = evaluation.evaluate(pipe, open_text(corpus, pipe.tokenizer, held_out=True), metric="bpc")["bpc"]
    assert set(found) == {"model", "model_4_steps", "edlm_nce", "xz", "bz2"}
    low, high = found["edlm_nce"]["bits"]
    assert low < found["model_4_steps"]["bits"] and low < high


def test_quality_by_steps(pipe, corpus, monkeypatch, alone):
    energy, _ = ngram_energy(pipe)
    monkeypatch.setattr(evaluation, "_energies", lambda pipe: ({"nce": energy}, {}))
    data, train = (open_text(corpus, pipe.tokenizer, held_out=held) for held in (True, False))
    done = []
    found = evaluation.evaluate(pipe, data, n=2, train=train, metric="quality", progress=lambda *at: done.append(at))
    assert set(found["quality"]) == {"samples", "candidates", "window", "real", "model", "edlm_nce"}
    assert set(found["quality"]["model"]) == {"2", "4"} and done[-1] == (4, 4)
    assert found["judges"]["ngram"].endswith("of the text trained on")
    assert set(found["speed_up"]["edlm_nce"]) == {"calls", "passes"}
    assert found["quality"]["real"]["ngram_bits"] < found["quality"]["model"]["4"]["ngram_bits"]
    again = evaluation.evaluate(pipe, data, n=2, train=train, metric="quality")
    same = [row["quality"]["edlm_nce"]["4"]["ngram_bits"] for row in (found, again)]
    assert same[0] == same[1]


@pytest.mark.parametrize(("options", "word"), [({"metric": "bits"}, "metric"), ({"n": 1}, "n: got 1")])
def test_bad_requests(pipe, options, word):
    with pytest.raises(InputError, match=word):
        evaluation.evaluate(pipe, open_text(None, pipe.tokenizer, held_out=True), **options)


def test_data_of_another_length_is_refused(pipe):
    with pytest.raises(InputError, match="32"):
        evaluation.evaluate(pipe, open_text(None, presets.Bytes(16), held_out=True))
    with pytest.raises(InputError, match="dataset"):
        evaluation.evaluate(pipe, object())  # type: ignore[arg-type]
