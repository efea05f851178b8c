"""The energy network of an EDLM checkpoint (arXiv:2410.21357)."""

from __future__ import annotations

from pathlib import Path

from gencore.pipeline import Pipeline
from gencore.weights.importer import recognised_by
from gencore_text.backbones.energy import EnergyNet
from gencore_text.importers.assembly import import_network
from gencore_text.importers.layout import whole_names
from gencore_text.importers.read import Weights


@recognised_by(whole_names("energy"))
def import_edlm_energy(
    path: str | Path,
    *,
    weights: Weights | None = None,
    heads: int | None = None,
    schedule: str | None = None,
    time_conditioning: bool = False,
    length: int | None = None,
    tokenizer: str | None = None,
    mask_id: int | None = None,
) -> Pipeline:
    """The energy in an EDLM checkpoint, which corrects the denoiser of the same file (``gencore convert mdlm``).

    Args:
        weights: the average (ema) that the papers evaluate, or the raw weights; by default the average where there is
            one.
        heads: attention heads, where neither the file nor a published width tells.
        schedule: loglinear, cosine, cosinesqr, linear or geometric.
        time_conditioning: the network was trained to see the noise level.
        length: the context in tokens.
        tokenizer: folder with tokenizer.json, or bytes or alphabet27; without it texts are token ids.
        mask_id: the mask's token id, where it is not the last row of the embedding.

    Raises:
        CheckpointError: damaged, unsafe, of another layout, or without an energy.
        InputError: an option that does not suit the file, a tokenizer with another vocabulary included.
    """
    return import_network("edlm-energy", "energy", path, lambda read, words: EnergyNet(**read.sizes),
                          sampler="ancestral", steps=128, weights=weights, heads=heads, length=length,
                          tokenizer=tokenizer, mask_id=mask_id, schedule=schedule,
                          time_conditioning=time_conditioning)  # fmt: skip
