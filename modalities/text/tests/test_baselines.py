from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gencore.errors import InputError
from gencore_text.baselines.compression import compressed_bits
from gencore_text.baselines.ngram import choose_order, fit_ngram
from gencore_text.data import open_text
from gencore_text.tokenizers.bytes import Bytes

VOCAB = 4


def total(model, context):
    """Sum over the vocabulary of p(w | context)."""
    rows = np.array([[*context, w] for w in range(model.vocab)])
    return np.exp(model.log_probs(rows)[:, -1]).sum()


@settings(deadline=None)
@given(st.lists(st.integers(0, VOCAB - 1), min_size=4, max_size=60), st.integers(1, 4),
       st.lists(st.integers(0, VOCAB - 1), max_size=5))  # fmt: skip
def test_it_is_a_distribution_after_any_context(tokens, order, context):
    model = fit_ngram(np.array(tokens), vocab=VOCAB, order=order)
    assert total(model, context) == pytest.approx(1, abs=1e-12)
    assert np.isfinite(model.log_probs(np.arange(VOCAB))).all(), "unseen tokens keep a share"


def test_single_tokens_by_hand():
    # Counts 3 and 1; with no 2- or 4-counts every discount is 1/2, and half a count for each of the two goes to 1/V.
    model = fit_ngram(np.array([0, 0, 1, 0]), vocab=4, order=1)
    expected = [2.5 / 4 + 1 / 4 / 4, 0.5 / 4 + 1 / 4 / 4, 1 / 16, 1 / 16]
    assert np.exp(model.log_probs(np.arange(4)[:, None]))[:, 0] == pytest.approx(expected)


def test_pairs_by_hand():
    # Pairs 01 x2, 10 x2, 02 x1.  A single token counts the different tokens before it: 0 after {1}, 1 after {0},
    # 2 after {0}: 1 each of 3.
    model = fit_ngram(np.array([0, 1, 0, 1, 0, 2]), vocab=3, order=2)
    single = 0.5 / 3 + (3 * 0.5 / 3) / 3
    assert np.exp(model.log_probs(np.array([[2]])))[0, 0] == pytest.approx(single)
    expected = [0 + 1 / 3 * single, 1.5 / 3 + 1 / 3 * single, 0.5 / 3 + 1 / 3 * single]
    rows = np.array([[0, w] for w in range(3)])
    assert np.exp(model.log_probs(rows))[:, 1] == pytest.approx(expected)
    # Nothing was ever seen after 2, so the shorter context speaks alone.
    assert np.exp(model.log_probs(np.array([[2, 1]])))[0, 1] == pytest.approx(single)


def test_discounts_of_chen_and_goodman():
    # Token j occurs as often as its entry says: n_1 .. n_4 = 4, 3, 2, 1.
    counts = [1, 1, 1, 1, 2, 2, 2, 3, 3, 4]
    tokens = np.repeat(np.arange(len(counts)), counts)
    model = fit_ngram(tokens, vocab=10, order=1)
    y = 4 / (4 + 2 * 3)
    d1, d2, d3 = 1 - 2 * y * 3 / 4, 2 - 3 * y * 2 / 3, 3 - 4 * y * 1 / 2
    rest = (4 * d1 + 3 * d2 + 3 * d3) / 20
    for token, d in ((0, d1), (4, d2), (7, d3), (9, d3)):
        expected = (counts[token] - d) / 20 + rest / 10
        assert math.exp(model.log_probs(np.array([token]))[0]) == pytest.approx(expected)


def test_each_text_begins_without_a_past():
    model = fit_ngram(np.array([0, 1] * 20), vocab=2, order=3)
    both = model.log_probs(np.array([[0, 1, 0], [1, 0, 1]]))
    assert both[1, 0] == pytest.approx(model.log_probs(np.array([1]))[0])
    assert both.shape == (2, 3) and np.exp(both[0, 2]) > 0.9


def test_a_shorter_order_is_the_model_fitted_so():
    tokens = np.random.default_rng(0).integers(0, 4, 500)
    long, short = fit_ngram(tokens, vocab=4, order=5), fit_ngram(tokens, vocab=4, order=3)
    assert np.array_equal(long.at(3).log_probs(tokens), short.log_probs(tokens))
    assert long.at(3).name == "ngram-3"
    with pytest.raises(InputError, match=r"1\.\.5"):
        long.at(6)


def test_the_order_is_chosen_by_validation():
    rng = np.random.default_rng(1)
    noise = rng.integers(0, 4, 4000)
    assert choose_order(fit_ngram(noise, vocab=4, order=4), rng.integers(0, 4, 2000)).order < 3
    pairs = np.tile([0, 1, 2, 3, 0, 2, 1, 3], 200)
    assert choose_order(fit_ngram(pairs, vocab=4, order=4), pairs[:400]).order > 2


def test_bad_tokens_are_refused():
    with pytest.raises(InputError, match="order"):
        fit_ngram(np.array([0, 1]), vocab=2, order=3)
    with pytest.raises(InputError, match=r"2.*0\.\.1"):
        fit_ngram(np.array([0, 2]), vocab=2, order=1)
    with pytest.raises(InputError, match="-1"):
        fit_ngram(np.array([0, 1]), vocab=2, order=1).log_probs(np.array([-1]))


def test_real_text_is_ordered_as_it_should_be():
    data = open_text(None, Bytes(64))
    tokens = data.tokens.astype(np.int64)
    fit, held = tokens[:40_000], tokens[40_000:44_096].reshape(-1, 64)
    bits = [-fit_ngram(fit, vocab=260, order=k).log_probs(held).mean() / math.log(2) for k in (1, 2, 4)]
    assert bits[0] > bits[1] > bits[2] and 4 < bits[0] < 4.6 and 2 < bits[2] < 2.8


def test_compressors():
    text = open_text(None).corpus.documents[0]
    assert 2 < compressed_bits(text) < 3 and 1.9 < compressed_bits(text, "bz2") < 3
    assert compressed_bits(text[:2000], after=text) < 0.2, "seen before"
    assert compressed_bits("é" * 100) == compressed_bits("é" * 100, "xz")
    with pytest.raises(InputError, match="xz, bz2"):
        compressed_bits("a", "zip")
    with pytest.raises(InputError, match="at least one"):
        compressed_bits("")
