"""The autoregressive network of an MDLM or EDLM checkpoint (arXiv:2406.07524, 2410.21357)."""

from __future__ import annotations

from pathlib import Path

from gencore.categorical import TokenPrediction
from gencore.nn.init import seeded
from gencore.pipeline import Pipeline
from gencore.weights.importer import recognised_by
from gencore_text.backbones.causal import CausalTransformer
from gencore_text.importers.assembly import assemble, process_for, words_for
from gencore_text.importers.layout import whole_names
from gencore_text.importers.read import Weights, load, read_part

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
    read = read_part(path, "ar", weights=weights, heads=heads)
    words = words_for(read, tokenizer, length, mask_id)
    size = {key: value for key, value in read.sizes.items() if key != "vocab"}
    with seeded(0):
        net = CausalTransformer(TokenPrediction(read.sizes["vocab"], words.tokenizer.mask_id), start="none", **size)  # type: ignore[arg-type]
    load(net, read, "ar")
    process, _ = process_for(read, words.tokenizer.mask_id, "loglinear", False)
    return assemble("mdlm-ar", path, net, process, words, sampler="block:size=1", steps=1,
                    notes=[*read.notes, *words.notes, NO_START])  # fmt: skip
