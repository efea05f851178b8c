"""Training presets: functions ``preset(data, *, steps, batch, seed) -> Training``.

``kjv``, ``kjv-ar`` and ``kjv-nce`` are the packaged default, the autoregressive model of its size and its energy, over
pieces of words; ``kjv-bytes`` is the default's counterpart over bytes, the vocabulary of all other presets.
``mdlm-tiny`` .. ``mdlm-medium`` are the published networks and settings (arXiv:2406.07524) on bytes, and ``text8`` the
small one on 27 symbols.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from gencore.categorical import TokenPrediction
from gencore.conditioner import Unconditional
from gencore.errors import InputError
from gencore.loading import load
from gencore.nn.init import seeded
from gencore.objectives.autoregressive import Autoregressive
from gencore.objectives.masked_diffusion import MaskedDiffusion
from gencore.objectives.nce import NoiseContrastive
from gencore.pipeline import Defaults, Pipeline
from gencore.processes.absorbing import Absorbing
from gencore.training.preset import Training
from gencore_text.backbones.causal import CausalTransformer
from gencore_text.backbones.ddit import DDiT
from gencore_text.backbones.energy import EnergyNet
from gencore_text.tokenizers.alphabet27 import Alphabet27
from gencore_text.tokenizers.base import TextTokenizer
from gencore_text.tokenizers.bytes import Bytes
from gencore_text.tokenizers.sentencepiece import SentencePiece

if TYPE_CHECKING:
    from gencore_text.data import TextData

SIZES: dict[str, dict[str, Any]] = {
    "tiny": {"width": 512, "depth": 8, "heads": 8},
    "small": {"width": 768, "depth": 12, "heads": 12},
    "medium": {"width": 1024, "depth": 24, "heads": 16},
}
_PACKAGED: dict[str, Any] = {"width": 256, "depth": 4, "heads": 4, "mlp_ratio": 3.5, "dropout": 0.1}
_VOCAB, _CONTEXT = 2048, 128
_FAST: dict[str, Any] = {"lr": 1.5e-3, "warmup": 100, "decay": "cosine", "weight_decay": 0.01, "betas": (0.9, 0.98),
                         "ema": 0.998, "clip": 1.0, "precision": "bf16"}  # fmt: skip
"""What trains a small network in minutes."""
_MUON: dict[str, Any] = {"optimizer": "muon", "lr": 2e-3, "weight_decay": 0.1}


def kjv(data: TextData, *, steps: int | None = None, batch: int | None = None, seed: int = 0) -> Training:
    """The packaged default: masked diffusion over 2,048 SentencePiece tokens that are learnt from `data` first.

    128 tokens a text, 4.1 M parameters, 160,000 crops.  Data: ``recipes/fetch_kjv.sh``.  About an hour and a half on
    one core.
    """
    return _masked(_pieces(data), _PACKAGED | {"cond_dim": 16}, steps=steps or 5_000, batch=batch or 32, seed=seed,
                   **_MUON)  # fmt: skip


def kjv_ar(data: TextData, *, steps: int | None = None, batch: int | None = None, seed: int = 0) -> Training:
    """The causal network over the same tokens, of the same size, 32,000 crops: a yardstick, and the energy ``ar``.

    About 12 minutes on one core.
    """
    tokenizer = _pieces(data)
    process = Absorbing(tokenizer.mask_id)
    with seeded(seed):
        net = CausalTransformer(TokenPrediction(tokenizer.vocab, tokenizer.mask_id), **_PACKAGED)
    # One token a block, one draw a token: that is how an autoregressive model samples.
    defaults = Defaults(sampler="block:size=1", steps=1)
    return Training(pipeline=_pipeline(tokenizer, net, process, defaults), objective=Autoregressive(process),
                    steps=steps or 1_000, batch=batch or 32, seed=seed, drop=0.0, **_FAST | _MUON)  # fmt: skip


def kjv_nce(data: TextData, *, steps: int | None = None, batch: int | None = None, seed: int = 0) -> Training:
    """The energy ``nce`` of the packaged default, which it starts from and which stays frozen; 4,800 crops.

    About 10 minutes on one core.

    Raises:
        InputError: there is no packaged default yet.
    """
    denoiser = load("text", device="cpu")
    if not isinstance(denoiser.backbone, DDiT) or not isinstance(denoiser.process, Absorbing):
        raise InputError("model", type(denoiser.backbone).__name__, "a packaged default made by preset kjv")
    with seeded(seed):
        net = EnergyNet.from_denoiser(denoiser.backbone)
    pipeline = Pipeline(modality="text", tokenizer=denoiser.tokenizer, conditioner=Unconditional(), backbone=net,
                        process=denoiser.process, defaults=denoiser.defaults)  # fmt: skip
    settings = _FAST | {"lr": 5e-4, "warmup": 30, "ema": 0.99}
    return Training(
        pipeline=pipeline, objective=NoiseContrastive(denoiser.process), steps=steps or 300, batch=batch or 16,
        seed=seed, drop=0.0, roles={"denoiser": denoiser.backbone}, **settings,
    )  # fmt: skip


def tiny(data: TextData, *, steps: int | None = None, batch: int | None = None, seed: int = 0) -> Training:
    """Small enough to try everything in seconds: 32 bytes a text, 40 k parameters."""
    network = {"width": 32, "depth": 2, "heads": 2, "cond_dim": 8, "dropout": 0.0}
    return _masked(Bytes(32), network, steps=steps or 200, batch=batch or 16, seed=seed, precision="32")


def kjv_bytes(data: TextData, *, steps: int | None = None, batch: int | None = None, seed: int = 0) -> Training:
    """Masked diffusion over bytes, 256 a text, 3.9 M parameters, 48,000 crops: what `kjv` is without a vocabulary.

    About 40 minutes on one core.
    """
    network = _PACKAGED | {"depth": 5, "dropout": 0.0, "cond_dim": 16}
    return _masked(Bytes(256), network, steps=steps or 3_000, batch=batch or 16, seed=seed)


def text8(data: TextData, *, steps: int | None = None, batch: int | None = None, seed: int = 0) -> Training:
    """The published benchmark on 27 symbols: the small network, 256 characters, 90/5/5 by position."""
    return _published(Alphabet27(256), "small", steps, batch, seed)


def _on_bytes(size: str, data: TextData, *, steps: int | None = None, batch: int | None = None, seed: int = 0
              ) -> Training:  # fmt: skip
    """A published network on bytes, 1,024 a text."""
    return _published(Bytes(1024), size, steps, batch, seed)


def _published(tokenizer: TextTokenizer, size: str, steps: int | None, batch: int | None, seed: int) -> Training:
    """AdamW 3e-4, batch 512, 2,500 steps of warm-up, average 0.9999, times spread over the batch."""
    settings = {"lr": 3e-4, "warmup": 2_500, "decay": "constant", "weight_decay": 0.0, "betas": (0.9, 0.999),
                "ema": 0.9999}  # fmt: skip
    return _masked(tokenizer, SIZES[size], steps=steps or 1_000_000, batch=batch or 512, seed=seed, **settings)


def _pieces(data: TextData) -> SentencePiece:
    """The vocabulary of the packaged models; the same texts always give the same one."""
    return SentencePiece.train(data.corpus.documents, vocab=_VOCAB, length=_CONTEXT)


def _masked(tokenizer: TextTokenizer, network: dict[str, Any], **options: Any) -> Training:
    """A time-free denoiser under the log-linear schedule, which needs no network time."""
    process = Absorbing(tokenizer.mask_id)
    with seeded(options["seed"]):
        net = DDiT(TokenPrediction(tokenizer.vocab, tokenizer.mask_id), **network)
    pipeline = _pipeline(tokenizer, net, process, Defaults(sampler="ancestral", steps=64))
    return Training(pipeline=pipeline, objective=MaskedDiffusion(process, antithetic=True), drop=0.0,
                    **{**_FAST, **options})  # fmt: skip


def _pipeline(tokenizer: TextTokenizer, net: Any, process: Absorbing, defaults: Defaults) -> Pipeline:
    return Pipeline(modality="text", tokenizer=tokenizer, conditioner=Unconditional(), backbone=net, process=process,
                    defaults=defaults)  # fmt: skip


mdlm_tiny, mdlm_small, mdlm_medium = (partial(_on_bytes, size) for size in SIZES)
