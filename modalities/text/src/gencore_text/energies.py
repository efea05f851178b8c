"""Which energy a word names, and whether it fits the model it corrects.

ar        the packaged autoregressive model; ar:carry_over=true counts open tokens as certain under it
nce       the packaged network trained against the packaged denoiser
FOLDER    any model folder: an autoregressive network, or one trained by `gencore.objectives.nce`
none      no correction
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from gencore.categorical import TokenPrediction
from gencore.components import describe
from gencore.errors import InputError
from gencore.loading import load_folder
from gencore.models import CONFIG, packaged_default
from gencore.process import AbsorbingProcess
from gencore.settings import parse
from gencore.transforms.edlm import EnergyCorrection
from gencore.transforms.energies import AutoregressiveLogProbs, NetworkEnergy, ResidualEnergy, ScoreEnergy
from gencore_text.backbones.causal import CausalTransformer
from gencore_text.backbones.energy import EnergyNet

if TYPE_CHECKING:
    from gencore.pipeline import Pipeline
    from gencore_text.tokenizers.base import TextTokenizer

PACKAGED = ("ar", "nce")
WINDOW = (1.0, 0.0)
CANDIDATES = 2
ROUNDS = 8
"""How often candidates are drawn at most, to reach an effective number of them."""
SETTINGS = ("candidates", "effective", "energy_window", "energy_temperature")


def correction(pipe: Pipeline, said: dict[str, Any]) -> EnergyCorrection | None:
    """The transform that the words in `SETTINGS` ask for, with ``energy``.

    Raises:
        InputError: an energy that does not exist or fit, a number out of range, or numbers without an energy.
    """
    name = said.get("energy", "none")
    if not isinstance(name, str):
        raise InputError("energy", type(name).__name__, "ar, nce, none or a folder",
                         "another energy goes into transforms=[EnergyCorrection(...)]")  # fmt: skip
    settings = {word: said[word] for word in SETTINGS if word in said}
    if name == "none":
        if settings:
            raise InputError(next(iter(settings)), next(iter(settings.values())), "nothing without --energy ar or nce")
        return None
    for word in ("candidates", "effective", "energy_temperature"):
        kinds = int if word == "candidates" else int | float
        if isinstance(value := settings.get(word), bool) or not isinstance(value, kinds | None):
            raise InputError(word, value, "a whole number, 1 or more" if word == "candidates" else "a number")
    candidates, target = settings.get("candidates", CANDIDATES), settings.get("effective")
    most = candidates if target is None else ROUNDS * candidates
    return EnergyCorrection(named(name, pipe), candidates, window=_window(settings.get("energy_window", WINDOW)),
                            temperature=settings.get("energy_temperature", 1.0), target=target,
                            most=max(1, most))  # fmt: skip


def named(text: str, pipe: Pipeline) -> ResidualEnergy | NetworkEnergy:
    """The energy called `text`, on the device of `pipe`.

    Raises:
        InputError: none of that name, no such folder, another kind of network, or another vocabulary.
    """
    settings = parse(text, "energy") if text.partition(":")[0] in PACKAGED else {"type": text}
    name = settings.pop("type")
    folder = packaged_default("text").with_name(f"kjv-{name}") if name in PACKAGED else Path(name)
    if not (folder / CONFIG).is_file():
        default = packaged_default("text")
        there = [name for name in PACKAGED if (default.with_name(f"kjv-{name}") / CONFIG).is_file()]
        raise InputError("energy", text, ", ".join([*there, "none", "the folder of a model"]))
    model = load_folder(folder).to(pipe.device)
    net = model.backbone
    if isinstance(net, EnergyNet) and not settings:
        same_vocabulary(model, pipe)
        return NetworkEnergy(net, model.hash())
    if isinstance(net, CausalTransformer) and not settings.keys() - {"carry_over"}:
        same_vocabulary(model, pipe)
        carry_over = settings.get("carry_over", False)
        if not isinstance(carry_over, bool):
            raise InputError("energy", text, "carry_over=true or carry_over=false")
        log_probs = AutoregressiveLogProbs(net, cast(AbsorbingProcess, pipe.process), model.hash())
        return ResidualEnergy(log_probs, carry_over=carry_over)
    if settings:
        raise InputError("energy", text, "ar:carry_over=true, or a name alone")
    raise InputError("energy", f"{text} ({type(net).__name__})", "an autoregressive or an energy network")


def same_vocabulary(model: Pipeline, pipe: Pipeline) -> None:
    """Refuse a `model` whose token ids mean other text than those of `pipe`.

    Raises:
        InputError: names both vocabularies.
    """
    mine, theirs = (_vocabulary(p) for p in (pipe, model))
    if mine != theirs or any(
        not torch.equal(a, b) for a, b in zip(pipe.tokenizer.tensors().values(), model.tokenizer.tensors().values(),
                                              strict=True)
    ):  # fmt: skip
        raise InputError("energy", f"a model over {_spelt(theirs)}", f"one over the denoiser's {_spelt(mine)}")


def _vocabulary(pipe: Pipeline) -> dict[str, Any]:
    settings = {k: v for k, v in describe("tokenizer", pipe.tokenizer).items() if k != "length"}
    read = pipe.backbone.prediction
    size = read.vocab if isinstance(read, TokenPrediction) else getattr(pipe.backbone, "vocab", None)
    return {**settings, "vocab": size, "tensors": sorted(pipe.tokenizer.tensors())}


def _spelt(vocabulary: dict[str, Any]) -> str:
    return f"{vocabulary['vocab']} tokens of '{vocabulary['type']}'"


def _window(value: Any) -> tuple[float, float]:
    """``"0.9/0.3"`` or a pair."""
    parts = value.split("/") if isinstance(value, str) else value
    try:
        start, end = (float(part) for part in parts)
    except (TypeError, ValueError):
        raise InputError("energy_window", value, "start/end, for instance 0.9/0.3") from None
    return start, end


def of_texts(score: Callable[[str], float], tokenizer: TextTokenizer, strength: float = 1.0) -> ScoreEnergy:
    """The energy of a judge of strings: a grammar, a classifier, a reward.

    >>> from gencore_text.tokenizers.bytes import Bytes
    >>> energy = of_texts(lambda text: -text.count("z"), Bytes(4))
    >>> energy.score(torch.tensor([[97, 122], [97, 97]])).tolist()
    [-1.0, 0.0]

    Args:
        score: higher is better, -inf refuses.
        tokenizer: of the pipeline it is for.
        strength: see `ScoreEnergy`.
    """

    def judge(tokens: Tensor) -> Tensor:
        scores = [float(score(tokenizer.text(row))) for row in tokens.tolist()]
        return torch.tensor(scores, dtype=torch.float64, device=tokens.device)

    return ScoreEnergy(judge, strength)
