"""Faults a modality can have, each with the conformance check that must catch it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from toy_bench import MUTATIONS, Bench, breaks

from gencore.condition import Condition, Port
from gencore.conditioners.label import Labels
from gencore.guidance import COND, UNCOND, ClassifierFree
from gencore.known import Known
from gencore.manifest import Option
from gencore.noise import Keyed
from gencore.objective import Loss
from gencore.objectives.flow import FlowMatching
from gencore.request import OPTIONS, request
from gencore.spec import LatentSpec
from gencore.tokenizer import Latent

__all__ = ["MUTATIONS", "Bench"]
TOY = Path(__file__).parent

# ---- discovery


def _renamed_manifest(bench: Bench, imports: str) -> None:
    source = (TOY / "toy_manifest.py").read_text().replace("from gencore.manifest", f"{imports}\nfrom gencore.manifest")
    bench.manifest = bench.module("toy_other_manifest", source).manifest


@breaks("manifest-imports-standard-library-only", "imports numpy")
def heavy_import_at_discovery(bench: Bench) -> None:
    _renamed_manifest(bench, "import numpy")


@breaks("listing-imports-no-implementation", "listing imports toy_sampler")
def manifest_imports_its_implementation(bench: Bench) -> None:
    _renamed_manifest(bench, "import toy_sampler")


@breaks("loading-imports-nothing-heavy", "imports scipy")
def heavy_import_at_loading(bench: Bench) -> None:
    bench.module("toy_slow", "import scipy\nfrom toy_modality import Toy\n")
    bench.provide("modality", toy="toy_slow:Toy")


@breaks("everything-provided-can-be-imported", "metric 'gone'")
def a_provided_name_leads_nowhere(bench: Bench) -> None:
    bench.provide("metric", gone="toy_modality:Gone")


@breaks("options-and-words-agree", "no run reads the option prompt")
def an_option_nobody_reads(bench: Bench) -> None:
    option = Option(name="prompt", type="str", help="a text")
    bench.manifest = replace(bench.manifest, options=(*bench.manifest.options, option))


@breaks("docstring-examples-run", "toy_modality.Codec")
def a_docstring_example_that_is_wrong(bench: Bench) -> None:
    bench.set(bench.modality.Codec, __doc__=bench.modality.Codec.__doc__.replace("(2, 1, 4)", "(2, 4)"))


# ---- codec


@breaks("encode-decode-round-trip", "facts say exact")
def a_lossy_codec_declared_exact(bench: Bench) -> None:
    bench.set(bench.modality.Codec, decode=lambda self, latent: latent.value.half().float())


@breaks("spec-matches-shapes", "encoding does not give what spec() declares")
def wrong_axes(bench: Bench) -> None:
    def encode(self: Any, data: torch.Tensor, noise: Any = None) -> Latent:
        return Latent(data.transpose(1, 2))

    bench.set(bench.modality.Codec, encode=encode)


@breaks("mask-fits-the-latent", "an all-True mask is not all True")
def an_inverted_latent_mask(bench: Bench) -> None:
    bench.set(bench.modality.Codec, mask=lambda self, mask: ~mask)


@breaks("odd-sizes-work-or-are-refused", "size (9,) gives (1, 1, 8)")
def a_size_that_is_ignored(bench: Bench) -> None:
    bench.set(bench.modality.Codec, spec=lambda self, size=None: LatentSpec("b c n", (1, 8), time_axes=("n",)))


# ---- determinism


@breaks("same-seed-same-bytes", "two equal calls with sampler 'toy-walk'")
def state_hidden_in_the_sampler(bench: Bench) -> None:
    calls = [0]

    def after(state: Any, x: torch.Tensor) -> torch.Tensor:
        calls[0] += 1
        return x + 0.01 * calls[0]

    bench.walk(after)


@breaks("saved-model-gives-the-same-bytes", "makes other samples")
def a_key_dropped_in_silence(bench: Bench) -> None:
    def change(training: Any) -> None:
        net = type(training.pipeline.backbone)
        whole = net.state_dict
        bench.set(
            net, state_dict=lambda self, *a, **k: {n: t for n, t in whole(self, *a, **k).items() if n != "final.bias"}
        )
        bench.set(net, load_state_dict=lambda self, state: torch.nn.Module.load_state_dict(self, state, strict=False))

    bench.preset(change)


@breaks("different-seeds-differ", "are equal")
def the_seed_is_ignored(bench: Bench) -> None:
    bench.patch.setattr("gencore.pipeline.Keyed", lambda seeds, **how: Keyed([0] * len(seeds), **how))


@breaks("noise-alone-equals-noise-in-a-batch", "starts elsewhere alone")
def noise_that_depends_on_the_batch(bench: Bench) -> None:
    bench.patch.setattr(
        "gencore.pipeline.Keyed", lambda seeds, **how: Keyed([s + 1000 * len(seeds) for s in seeds], **how)
    )


@breaks("sample-alone-equals-sample-in-a-batch", "with sampler 'toy-walk' a sample differs")
def samples_of_a_batch_that_talk(bench: Bench) -> None:
    bench.walk(lambda state, x: x + 0.01 * x.mean(0, keepdim=True))


@breaks("global-random-state-is-untouched", "moves the global generator of torch")
def the_global_generator_is_used(bench: Bench) -> None:
    def encode(self: Any, data: torch.Tensor, noise: Any = None) -> Latent:
        return Latent(data + 0 * torch.randn(()))

    bench.set(bench.modality.Codec, encode=encode)


@breaks("global-random-state-is-untouched", "encoding depends on a global generator")
def the_global_generator_is_used_and_put_back(bench: Bench) -> None:
    def encode(self: Any, data: torch.Tensor, noise: Any = None) -> Latent:
        with torch.random.fork_rng():
            return Latent(data + torch.randn(()))

    bench.set(bench.modality.Codec, encode=encode)


@breaks("inputs-are-not-changed-in-place", "the data that is handed in changes")
def an_input_changed_in_place(bench: Bench) -> None:
    bench.set(bench.modality.Codec, encode=lambda self, data, noise=None: Latent(data.clamp_(-0.1, 0.1)))


def _remembering(bench: Bench) -> None:
    kept: list[torch.Tensor] = []

    def after(state: Any, x: torch.Tensor) -> torch.Tensor:
        if state.i == 0:
            kept.clear()
        kept.append(x)
        return x + 0.1 * kept[max(0, len(kept) - 2)]

    bench.walk(after)


@breaks("interleaved-streams-do-not-mix", "taken in turns differ")
def history_that_two_runs_share(bench: Bench) -> None:
    _remembering(bench)


@breaks("resumed-stream-equals-the-straight-one", "continuing after step 1")
def history_that_is_not_in_the_state(bench: Bench) -> None:
    _remembering(bench)


# ---- conditions


@breaks("guidance-one-is-one-conditional-call", "gives other samples than a single conditional call")
def guidance_one_computes_both_branches(bench: Bench) -> None:
    bench.set(ClassifierFree, branches=lambda self, t, info: (COND, UNCOND))


@breaks("nulls-are-declared-for-what-is-guided", "label has no null")
def an_undeclared_null(bench: Bench) -> None:
    def change(training: Any) -> None:
        training.pipeline.backbone.ports = {"label": Port("modulation", 2)}

    bench.preset(change)


@breaks("words-are-optional-or-asked-for", "something else than its null")
def a_condition_picked_in_silence(bench: Bench) -> None:
    call = Labels.__call__

    def pick(self: Any, words: Any, count: Any) -> Any:
        return (
            call(self, words, count)
            if words.get("label") is not None
            else (count, {"label": Condition(torch.zeros(count).long())})
        )

    bench.set(Labels, __call__=pick)


@breaks("given-cells-come-back-bit-for-bit", "given cells of the latent change")
def given_cells_recomputed(bench: Bench) -> None:
    paste = Known.paste
    bench.set(Known, paste=lambda self, x: paste(self, x) * (1 + 1e-6))


@breaks("true-in-a-mask-means-generate", "an all-True mask changes samples")
def the_polarity_turned(bench: Bench) -> None:
    mask = bench.modality.Toy.mask
    bench.set(bench.modality.Toy, mask=lambda self, source, pipe: ~mask(self, source, pipe))


# ---- training


def _loss(bench: Bench, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    loss = FlowMatching.loss

    def broken(self: Any, *arguments: Any) -> Loss:
        found = loss(self, *arguments)
        return Loss(change(found.total), found.parts)

    bench.set(FlowMatching, loss=broken)


@breaks("one-step-lowers-the-loss", "a step against the gradient moves the loss")
def the_gradient_points_uphill(bench: Bench) -> None:
    _loss(bench, lambda total: 2 * total.detach() - total)


@breaks("one-step-lowers-the-loss", "the same batch and noise give two losses")
def training_noise_that_is_not_keyed(bench: Bench) -> None:
    _loss(bench, lambda total: total * (1 + 0.01 * torch.rand(())))


@breaks("every-weight-is-trained", "1 weights get no gradient: forgotten")
def a_weight_nobody_uses(bench: Bench) -> None:
    def change(training: Any) -> None:
        training.pipeline.backbone.forgotten = torch.nn.Parameter(torch.ones(3))

    bench.preset(change)


@breaks("resumed-training-equals-the-uninterrupted", "after a stop and a resume")
def resume_drift(bench: Bench) -> None:
    class Drifting(FlowMatching):
        count = 0

        def loss(self, *arguments: Any) -> Loss:
            self.count += 1
            found = super().loss(*arguments)
            return Loss(found.total * self.count, found.parts)

    def change(training: Any) -> None:
        object.__setattr__(training, "objective", Drifting(training.pipeline.process))

    bench.preset(change)


# ---- refusals


@breaks("unknown-words-are-refused", "the word 'no_such_word' is accepted")
def unknown_words_ignored(bench: Bench) -> None:
    def lenient(pipe: Any, **said: Any) -> Any:
        return request(pipe, **{k: v for k, v in said.items() if k in OPTIONS or k in pipe.conditioner.words})

    bench.patch.setattr("gencore.pipeline.request", lenient)


@breaks("values-out-of-range-are-refused", "label given as an object")
def any_label_will_do(bench: Bench) -> None:
    bench.set(Labels, _index=lambda self, label: label if isinstance(label, int) else 0)


@breaks("unusable-given-data-are-refused", "known of another size: the refusal does not name known")
def given_data_of_any_size(bench: Bench) -> None:
    bench.set(bench.modality.Toy, known=lambda self, source, pipe, field="known": source)


@breaks("nan-weights-are-refused", "a weight of nan is accepted")
def nan_accepted(bench: Bench) -> None:
    bench.patch.setattr("gencore.loading.require_finite", lambda tensors: None)


@breaks("truncated-checkpoints-are-refused", "cut to half ends in SafetensorError")
def a_librarys_own_error(bench: Bench) -> None:
    from safetensors.torch import load_file

    bench.patch.setattr("gencore.loading.read_tensors", lambda path: (load_file(path), {}))


@breaks("missing-and-extra-tensors-are-refused", "a missing tensor is accepted")
def loading_is_not_strict(bench: Bench) -> None:
    bench.patch.setattr("gencore.loading.load_strict", lambda net, tensors: net.load_state_dict(tensors, strict=False))


@breaks("unknown-configuration-is-refused", "an unknown setting of the tokenizer is accepted")
def settings_ignored(bench: Bench) -> None:
    bench.patch.setattr(bench.modality.Codec, "from_config", lambda config: bench.modality.Codec(), raising=False)


@breaks("pickled-code-never-runs", "ran code from its weights file")
def weights_are_unpickled(bench: Bench) -> None:
    import pickle

    from gencore.weights import files

    read = files.read_tensors

    def unpickle(path: Path) -> Any:
        if path.read_bytes()[:1] == b"\x80":
            pickle.loads(path.read_bytes())
        return read(path)

    bench.patch.setattr("gencore.loading.read_tensors", unpickle)


# ---- files


@breaks("files-carry-a-recipe-that-reproduces", "holds no recipe")
def recipe_missing(bench: Bench) -> None:
    bench.set(bench.modality, write_sidecar=lambda path, recipe, force=False: None)


@breaks("equal-results-are-equal-files", "different bytes")
def a_clock_in_the_file(bench: Bench) -> None:
    from gencore.recipe import write_sidecar

    stamped = lambda path, recipe, force=False: write_sidecar(path, {**recipe, "when": time.time_ns()}, force)  # noqa: E731
    bench.set(bench.modality, write_sidecar=stamped)


@breaks("files-are-read-back", "are read back as")
def files_read_back_in_another_shape(bench: Bench) -> None:
    load = bench.modality.Toy.load
    bench.set(bench.modality.Toy, load=lambda self, path, pipe: load(self, path, pipe).flatten(1))


@breaks("nothing-is-overwritten-or-half-written", "saving over a file is accepted")
def files_overwritten(bench: Bench) -> None:
    from gencore.media.files import atomic_write
    from gencore.recipe import write_sidecar

    bench.set(bench.modality.Toy, check_output=lambda self, path, seeds, force=False: None)
    bench.set(bench.modality, atomic_write=lambda path, mode, force=False: atomic_write(path, mode, True))
    bench.set(bench.modality, write_sidecar=lambda path, recipe, force=False: write_sidecar(path, recipe, True))


@breaks("nothing-is-overwritten-or-half-written", "a save that fails leaves broken.npy")
def half_a_file(bench: Bench) -> None:
    import numpy as np

    from gencore.recipe import write_sidecar

    def save(self: Any, out: Any, path: Path, *, force: bool = False, recipe: bool = True) -> list[Path]:
        self.check_output(path, out.seeds, force=force)
        np.save(path, out.tensor.numpy())
        write_sidecar(path, out.recipe, force)
        return [path]

    bench.set(bench.modality.Toy, save=save)


# ---- samplers


@breaks("added-samplers-keep-their-contract", "sampler 'toy-walk': Walk: moments")
def noise_of_the_wrong_size(bench: Bench) -> None:
    update = bench.sampler.ddim_update
    bench.set(bench.sampler, ddim_update=lambda d, target, eta, z: update(d, target, eta, 2 * z))
