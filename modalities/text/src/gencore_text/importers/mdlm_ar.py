"""The autoregressive network of an MDLM or EDLM checkpoint (arXiv:2406.07524, 2410.21357)."""

from __future__ import annotations

from pathlib import Path

from gencore.categorical import TokenPrediction
from gencore.pipeline import Pipeline
from gencore.weights.importer import recognised_by
from gencore_text.backbones.causal import CausalTransformer
from gencore_text.importers.assembly import import_network
from gencore_text.importers.layout import whole_names
from gencore_text.importers.read import Read, Weights
from gencore_text.tokenizers.base import TextTokenizer

NO_START = "nothing stands before token 0, which the network never learned to predict: every token is as likely there"


@recognised_by(whole_names("ar"))
def import_mdlm_ar(
    path: str | Path,
    *,
    weights: Weights | None = None,
    heads: int | None = None,
    length: int | None = None,
    tokenizer: str | None = None,
    mask_id: int | None = None,
) -> Pipeline:
    """The pipeline of an autoregressive network, which samples token by token and serves as an energy.

    Args:
        weights: the average (ema) that the papers evaluate, or the raw weights; by default the average where there is
            one.
        heads: attention heads, where neither the file nor a published width tells.
        length: the context in tokens.
        tokenizer: folder with tokenizer.json, or bytes or alphabet27; without it texts are token ids.
        mask_id: the mask's token id, where it is not the last row of the embedding.

    Raises:
        CheckpointError: damaged, unsafe, of another layout, or without an autoregressive network.
        InputError: an option that does not suit the file, a tokenizer with another vocabulary included.
    """

    def make(read: Read, words: TextTokenizer) -> CausalTransformer:
        size = {key: value for key, value in read.sizes.items() if key != "vocab"}
        return CausalTransformer(TokenPrediction(read.sizes["vocab"], words.mask_id), start="none", **size)  # type: ignore[arg-type]

    return import_network("mdlm-ar", "ar", path, make, sampler="block:size=1", steps=1, weights=weights, heads=heads,
                          length=length, tokenizer=tokenizer, mask_id=mask_id, schedule="loglinear",
                          notes=[NO_START])  # fmt: skip
