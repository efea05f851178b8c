from __future__ import annotations

import io

import pytest
import torch
from torch.utils.data import default_collate

from gencore import plugins
from gencore.errors import InputError
from gencore.loading import untrained
from gencore.models import CONFIG, packaged_default
from gencore.noise import Keyed
from gencore.objectives.masked_diffusion import MaskedDiffusion
from gencore.training.module import batch_loss
from gencore_text import presets
from gencore_text.data import open_text

HALF = 2
"""Bytes a parameter in half precision."""
BUDGET = 8 * 2**20
"""Bytes of a packaged model, 8 MiB."""


def parameters(training):
    return sum(p.numel() for p in training.pipeline.backbone.parameters())


def first_loss(training, count=2):
    data = open_text(None, training.pipeline.tokenizer)
    batch = default_collate([data[i * 300] for i in range(count)])
    return batch_loss(training, batch, Keyed(range(count), prefix=("train", 0, 0))).total.item()


def test_the_default_is_the_first_and_fits_its_budget():
    names = plugins.plugin_names(plugins.provided("modality")["text"], "preset")
    assert names[0] == "kjv"
    training = presets.kjv(open_text(None))
    tokenizer = training.pipeline.tokenizer
    assert HALF * parameters(training) < BUDGET and tokenizer.spec().sizes == (128,)
    assert tokenizer.vocab == 2048 and training.pipeline.process.config()["mask_id"] == tokenizer.mask_id
    assert isinstance(training.objective, MaskedDiffusion) and training.objective.antithetic


def test_the_autoregressive_model_has_the_size_of_the_default():
    masked, causal = presets.kjv(open_text(None)), presets.kjv_ar(open_text(None))
    assert parameters(causal) == pytest.approx(parameters(masked), rel=0.05)
    # An untrained network knows nothing: every token but the mask is as likely.
    others = torch.tensor(causal.pipeline.tokenizer.vocab - 1.0)
    assert first_loss(causal) == pytest.approx(others.log().item(), rel=1e-3)


def test_every_preset_can_be_written_down_and_built_again():
    for make in (presets.tiny, presets.kjv, presets.kjv_ar, presets.kjv_bytes):
        training = make(open_text(None), steps=7, batch=3, seed=5)
        assert (training.steps, training.batch, training.seed) == (7, 3, 5)
        again = untrained(training.pipeline.config())
        assert again.config() == training.pipeline.config()


def test_seeds_make_weights():
    def weights(seed):
        return presets.tiny(open_text(None), seed=seed).pipeline.backbone.state_dict()["tokens.weight"]

    assert torch.equal(weights(1), weights(1)) and not torch.equal(weights(1), weights(2))


@pytest.mark.parametrize(("make", "width", "depth", "context"), [
    (presets.mdlm_tiny, 512, 8, 1024), (presets.mdlm_small, 768, 12, 1024), (presets.mdlm_medium, 1024, 24, 1024),
    (presets.text8, 768, 12, 256),
])  # fmt: skip
def test_published_networks(make, width, depth, context):
    with torch.device("meta"):
        training = make(open_text(None))
    config = training.pipeline.backbone.config()
    assert (config["width"], config["depth"], config["cond_dim"]) == (width, depth, 128)
    assert training.pipeline.tokenizer.spec().sizes == (context,)
    assert (training.batch, training.lr, training.warmup, training.ema) == (512, 3e-4, 2500, 0.9999)


def test_a_few_steps_learn_the_letters():
    training = presets.tiny(open_text(None))
    data, net = open_text(None, training.pipeline.tokenizer), training.pipeline.backbone
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-2)
    losses = []
    for step in range(40):
        batch = default_collate([data[(step * 16 + i) * 61] for i in range(16)])
        loss = batch_loss(training, batch, Keyed(range(16), prefix=("train", 0, step))).total
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    # From even odds, 5.56 nats, to nearly the entropy of single letters, 3.0.
    assert sum(losses[-5:]) / 5 < 3.7 < 5 < losses[0]


def test_the_energy_starts_from_the_denoiser_it_corrects(monkeypatch):
    denoiser = presets.tiny(open_text(None)).pipeline
    monkeypatch.setattr(presets, "load", lambda *args, **options: denoiser)
    training = presets.kjv_nce(open_text(None))
    own, frozen = training.pipeline.backbone.state_dict(), denoiser.backbone.state_dict()
    shared = [name for name in own if name.startswith("blocks.")]
    assert shared and all(torch.equal(own[name], frozen[name]) for name in shared)
    assert training.roles["denoiser"] is denoiser.backbone
    assert 1.0 < first_loss(training) < 2.0
    monkeypatch.setattr(presets, "load", lambda *args, **options: presets.kjv_ar(open_text(None)).pipeline)
    with pytest.raises(InputError, match="preset kjv"):
        presets.kjv_nce(open_text(None))


def test_pieces_are_learnt_from_the_data_and_the_same_for_both_networks():
    masked, causal = (make(open_text(None)).pipeline.tokenizer for make in (presets.kjv, presets.kjv_ar))
    assert torch.equal(masked.tensors()["sentencepiece"], causal.tensors()["sentencepiece"])
    other = presets.kjv(open_text(None, split="validation")).pipeline.tokenizer
    assert not torch.equal(masked.tensors()["sentencepiece"], other.tensors()["sentencepiece"])
    text = open_text(None).corpus.documents[0][:400]
    assert masked.text(masked.ids(text)) == text and len(masked.ids(text)) < 200


def test_the_counterpart_over_bytes_needs_no_vocabulary():
    training = presets.kjv_bytes(open_text(None))
    assert training.pipeline.tokenizer.vocab == 260 and training.pipeline.tokenizer.tensors() == {}
    assert HALF * parameters(training) < BUDGET


@pytest.mark.skipif(not (packaged_default("text") / CONFIG).exists(), reason="no packaged default in this tree")
def test_packaged_models_are_what_the_presets_make():
    from gencore.loading import load_folder

    for name, make in (("kjv", presets.kjv), ("kjv-ar", presets.kjv_ar)):
        folder = packaged_default("text").with_name(name)
        if not (folder / CONFIG).exists():
            continue
        kept = load_folder(folder)
        made = make(open_text(None)).pipeline
        assert kept.backbone.config() == made.backbone.config() and kept.process.config() == made.process.config()
        size = sum(file.stat().st_size for file in folder.iterdir())
        assert size < BUDGET, name


def test_no_part_of_a_preset_reads_the_global_generator():
    torch.manual_seed(0)
    before = io.BytesIO()
    torch.save(torch.get_rng_state(), before)
    presets.tiny(open_text(None), seed=3)
    after = io.BytesIO()
    torch.save(torch.get_rng_state(), after)
    assert before.getvalue() == after.getvalue()
