"""A text model against held-out text: bits a character, and the quality of samples against what they cost.

Figures of different models compare only on the same characters; ``characters`` says how many, ``data`` which.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch

from gencore.categorical import TokenPrediction
from gencore.data import Data
from gencore.errors import InputError, unknown
from gencore.transforms.edlm import Energy
from gencore.transforms.energies import AutoregressiveLogProbs, ResidualEnergy
from gencore_text.backbones.causal import CausalTransformer
from gencore_text.baselines.compression import compressed_bits
from gencore_text.baselines.ngram import NGram, choose_order, fit_ngram
from gencore_text.data import TextData
from gencore_text.energies import PACKAGED, named
from gencore_text.figures.bits import Texts, at_steps, bound, of_correction, of_log_probs, row
from gencore_text.figures.quality import Judge, judged, sampled, speed_up
from gencore_text.modality import Text

if TYPE_CHECKING:
    from gencore.pipeline import Pipeline
    from gencore_text.tokenizers.base import TextTokenizer

Metric = Literal["all", "bpc", "quality"]
STEPS = (4, 8, 16, 32, 64)
CANDIDATES, WINDOW = 4, (0.5, 0.0)
_LONGEST = 9
_ITEMS, _DRAWS, _REPEATS = Text.metrics["bpc"], 3, 4
_ROWS = 32


def evaluate(pipe: Pipeline, data: Data, *, n: int = 16, seed: int = 0, train: Data | None = None,
             metric: Metric = "all", progress: Callable[[int, int], None] | None = None) -> dict[str, Any]:  # fmt: skip
    """The figures, JSON-able.

    Args:
        data: held-out text, by `open_text`; 192 items of it, evenly spread, and every row of ``bpc`` is of those.
        n: samples at each number of steps; for metric "bpc", which makes none, the items instead of those 192.
        seed: of all draws, and of the first sample.
        train: the text the model was trained on: fits the n-gram, whose order its validation part chooses.  Without
            it the judge of samples is an n-gram of `data`, and there is no n-gram among the bits.
        metric: "bpc", "quality" or "all".
        progress: called with pieces of work done and in all.

    Returns:
        ``characters``, ``items``; ``bpc`` by model; ``quality`` by model and number of steps, with the judges' names;
        ``speed_up`` of the corrections; ``left_out``, corrections that could not be measured and why; ``seconds``.

    Raises:
        InputError: data of another kind, an unknown metric, or a pipeline that is no masked denoiser.
    """
    if metric not in get_args(Metric):
        raise unknown("metric", metric, get_args(Metric))
    if n < 2:
        raise InputError("n", n, "2 or more")
    if not isinstance(data, TextData) or not isinstance(train, TextData | None):
        raise InputError("data", type(data).__name__, "what Text.dataset gives")
    net = pipe.backbone
    if not isinstance(net.prediction, TokenPrediction):
        raise InputError("model", type(net).__name__, "a masked denoiser or an autoregressive network")
    started = perf_counter()
    texts, starts = _texts(data, pipe, n if metric == "bpc" else _ITEMS)
    energies, left_out = ({}, {}) if isinstance(net, CausalTransformer) else _energies(pipe)
    work = _Work(progress, (metric != "quality") * (2 + len(energies)) + (metric != "bpc") * len(STEPS) * (
        1 + len(energies)) * (not isinstance(net, CausalTransformer)))  # fmt: skip
    report: dict[str, Any] = {"characters": texts.total, "items": len(texts.tokens)}
    ngram = None if train is None else _ngram(train)
    if metric != "quality":
        report["bpc"] = _bits(pipe, texts, energies, data.tokenizer, train, seed, work)  # type: ignore[arg-type]
        if ngram is not None:
            report["bpc"] |= _ngram_bits(ngram, texts, starts, data)
    if metric != "bpc" and not isinstance(net, CausalTransformer):
        if ngram is None:
            source, ngram = "the held-out text", fit_ngram(data.tokens.astype(np.int64), vocab=_vocab(data), order=4)
        else:
            source = "the text trained on"
        judges: dict[str, Judge] = {"ngram": ngram.log_probs}
        if (ar := _autoregressive(energies)) is not None:
            judges["ar"] = _as_judge(ar)
        report["judges"] = {"ngram": f"{ngram.name} of {source}"} | ({"ar": "the energy 'ar'"} if ar else {})
        report |= _quality(pipe, texts, energies, judges, n, seed, work)
    if left_out:
        report["left_out"] = left_out
    return report | {"seconds": round(perf_counter() - started, 1)}


def _bits(pipe: Pipeline, texts: Texts, energies: Mapping[str, Energy], tokenizer: TextTokenizer,
          train: TextData | None, seed: int, work: _Work) -> dict[str, Any]:  # fmt: skip
    found: dict[str, Any] = {}
    if isinstance(pipe.backbone, CausalTransformer):
        own = _as_judge(AutoregressiveLogProbs(pipe.backbone, pipe.process))  # type: ignore[arg-type]
        found["model"] = of_log_probs(own(texts.tokens.numpy()), texts)
        work.done()
    else:
        moved = Texts(texts.tokens.to(pipe.device), texts.characters)
        free = bound(pipe, moved, draws=_DRAWS, seed=seed)
        found["model"] = {**row(free), "draws": _DRAWS}
        work.done()
        if energies:
            plain = at_steps(pipe, moved, STEPS[-1], draws=_DRAWS, seed=seed)
            found[f"model_{STEPS[-1]}_steps"] = {**row(plain), "draws": _DRAWS}
            for name, energy in energies.items():
                found[f"edlm_{name}"] = of_correction(pipe, energy, plain, free, moved, steps=STEPS[-1],
                                                      candidates=CANDIDATES, repeats=_REPEATS, seed=seed)  # fmt: skip
                work.done()
        if (ar := _autoregressive(energies)) is not None:
            found["ar"] = of_log_probs(_as_judge(ar)(texts.tokens.numpy()), texts)
    text = "".join(tokenizer.text(ids) for ids in texts.tokens.tolist())
    found |= {name: {"bits": compressed_bits(text, name)} for name in ("xz", "bz2")}
    if train is not None:
        found["xz_after_train"] = {"bits": compressed_bits(text, after="".join(train.corpus.documents))}
    work.done()
    return found


def _ngram_bits(ngram: NGram, texts: Texts, starts: np.ndarray, data: TextData) -> dict[str, Any]:
    """The n-gram that begins anew with every item, as networks do, and the one that reads on from the text before."""
    onward = ngram.log_probs(data.tokens.astype(np.int64))
    places = starts[:, None] + np.arange(texts.tokens.shape[1])
    return {ngram.name: of_log_probs(ngram.log_probs(texts.tokens.numpy()), texts),
            f"{ngram.name}_reading_on": of_log_probs(onward[places], texts)}  # fmt: skip


def _quality(pipe: Pipeline, texts: Texts, energies: Mapping[str, Energy], judges: Mapping[str, Judge], n: int,
             seed: int, work: _Work) -> dict[str, Any]:  # fmt: skip
    rows: dict[str, Any] = {"real": judged(texts.tokens.numpy(), judges)}
    for name, energy in {"model": None, **energies}.items():
        who = name if energy is None else f"edlm_{name}"
        rows[who] = {}
        # A model that picks the samples is no judge of them.
        others = {judge: model for judge, model in judges.items() if judge != name}
        for steps in STEPS:
            rows[who][str(steps)] = sampled(pipe, others, n=n, steps=steps, seed=seed, energy=energy,
                                            candidates=CANDIDATES, window=WINDOW)  # fmt: skip
            work.done()
    gains: dict[str, Any] = {}
    for who in rows.keys() - {"real", "model"}:
        for cost in ("calls", "passes"):
            curve = [(row[cost], row["ngram_bits"]) for row in rows["model"].values()]
            gains.setdefault(who, {})[cost] = {
                steps: speed_up(curve, row[cost], row["ngram_bits"]) for steps, row in rows[who].items()
            }
    settings = {"samples": n, "candidates": CANDIDATES, "window": list(WINDOW)}
    return {"quality": {**settings, **rows}, "speed_up": gains}


def _texts(data: TextData, pipe: Pipeline, count: int) -> tuple[Texts, np.ndarray]:
    """`count` items at most, and where they begin in the data."""
    length, tokenizer = pipe.tokenizer.spec().sizes[0], data.tokenizer
    if tokenizer is None or data.length != length:
        raise InputError("data", f"items of {data.length} tokens", f"items of {length}, the model's context")
    # Items that do not overlap, whatever the stride of the data.
    every = np.arange(0, len(data.tokens) - length + 1, length)
    count = min(count, len(every))
    starts = every[np.arange(count) * len(every) // count]
    rows = torch.from_numpy(data.tokens[starts[:, None] + np.arange(length)].astype(np.int64))
    return Texts(rows, torch.tensor([len(tokenizer.text(ids)) for ids in rows.tolist()])), starts


def _energies(pipe: Pipeline) -> tuple[dict[str, Energy], dict[str, str]]:
    """The packaged energies that fit this pipeline, and why others do not."""
    found: dict[str, Energy] = {}
    left_out: dict[str, str] = {}
    for name in PACKAGED:
        try:
            found[name] = named(name, pipe)
        except InputError as fault:
            left_out[name] = str(fault)
    return found, left_out


def _autoregressive(energies: Mapping[str, Energy]) -> AutoregressiveLogProbs | None:
    energy = energies.get("ar")
    if isinstance(energy, ResidualEnergy) and isinstance(energy.log_probs, AutoregressiveLogProbs):
        return energy.log_probs
    return None


def _as_judge(model: AutoregressiveLogProbs) -> Judge:
    device = next(model.net.parameters()).device

    def judge(tokens: np.ndarray) -> np.ndarray:
        rows = torch.from_numpy(tokens).to(device).split(_ROWS)
        return torch.cat([model(part) for part in rows]).double().cpu().numpy()

    return judge


def _ngram(train: TextData) -> NGram:
    model = fit_ngram(train.tokens.astype(np.int64), vocab=_vocab(train), order=_LONGEST)
    validation = train.other("validation")
    return choose_order(model, np.stack([validation[i]["data"].numpy() for i in range(len(validation))]))


def _vocab(data: TextData) -> int:
    return data.tokenizer.vocab  # type: ignore[union-attr]


class _Work:
    """Pieces of work done, reported as they are."""

    def __init__(self, progress: Callable[[int, int], None] | None, total: int) -> None:
        self.progress, self.total, self.count = progress, total, 0

    def done(self) -> None:
        self.count += 1
        if self.progress is not None:
            self.progress(self.count, self.total)
