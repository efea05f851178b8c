"""The denoiser of an MDLM or EDLM checkpoint (arXiv:2406.07524, 2410.21357)."""

from __future__ import annotations

from pathlib import Path

from gencore.categorical import Parameterization, TokenPrediction
from gencore.pipeline import Pipeline
from gencore.weights.importer import recognised_by
from gencore_text.backbones.ddit import DDiT
from gencore_text.importers.assembly import import_network
from gencore_text.importers.layout import whole_names
from gencore_text.importers.read import Read, Weights
from gencore_text.tokenizers.base import TextTokenizer


@recognised_by(whole_names("denoiser"))
def import_mdlm(
    path: str | Path,
    *,
    weights: Weights | None = None,
    heads: int | None = None,
    schedule: str | None = None,
    time_conditioning: bool = False,
    parameterization: Parameterization | None = None,
    subs_masking: bool = False,
    length: int | None = None,
    tokenizer: str | None = None,
    mask_id: int | None = None,
) -> Pipeline:
    """The pipeline of a Lightning .ckpt, a Hugging Face mdlm folder, or a bare state dict.

    Sizes come from the shapes of the tensors, further settings from the file's own configuration where it has one;
    what was assumed stands in ``card["imported"]["notes"]``.

    Args:
        weights: the average (ema) that the papers evaluate, or the raw weights; by default the average where there is
            one.
        heads: attention heads, where neither the file nor a published width tells.
        schedule: loglinear, cosine, cosinesqr, linear or geometric.
        time_conditioning: the network was trained to see the noise level.
        parameterization: what its logits mean.
        subs_masking: d3pm only, the mask is no possible token.
        length: the context in tokens.
        tokenizer: folder with tokenizer.json, or bytes or alphabet27; without it texts are token ids.
        mask_id: the mask's token id, where it is not the last row of the embedding.

    Raises:
        CheckpointError: damaged, unsafe, of another layout, or without a denoiser.
        InputError: an option that does not suit the file, a tokenizer with another vocabulary included.
    """

    def make(read: Read, words: TextTokenizer) -> DDiT:
        size = {key: value for key, value in read.sizes.items() if key != "vocab"}
        meaning = TokenPrediction(read.sizes["vocab"], words.mask_id,
                                  parameterization or read.said.get("parameterization", "subs"),
                                  subs_masking or bool(read.said.get("subs_masking")))  # fmt: skip
        return DDiT(meaning, **size)  # type: ignore[arg-type]

    return import_network("mdlm", "denoiser", path, make, sampler="ancestral", steps=128, weights=weights, heads=heads,
                          length=length, tokenizer=tokenizer, mask_id=mask_id, schedule=schedule,
                          time_conditioning=time_conditioning)  # fmt: skip
