"""A pipeline: the parts of a trained model, and what users call."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from gencore import components, plugins
from gencore.backbone import Backbone
from gencore.condition import Condition, Conditions, check_ports
from gencore.conditioner import Conditioner
from gencore.context import Interceptor
from gencore.denoiser import Denoiser
from gencore.errors import CheckpointError, InputError, unknown
from gencore.guidance import ClassifierFree, Guidance
from gencore.known import Known, KnownMode
from gencore.modality import Modality
from gencore.noise import Keyed, seeds_for
from gencore.process import GaussianProcess
from gencore.recipe import content_hash, model_hash
from gencore.run import Step, stream
from gencore.sampler import Sampler
from gencore.settings import parse
from gencore.spec import LatentSpec
from gencore.tokenizer import Latent, Tokenizer
from gencore.weights.files import read_tensors, require_finite, write_tensors

FORMAT = 1
CONFIG, WEIGHTS, TOKENIZER = "config.json", "model.safetensors", "tokenizer.safetensors"


@dataclass(frozen=True, slots=True)
class Defaults:
    """What `generate` does when nothing is said.

    Args:
        sampler: text of `gencore.settings`.
        steps: of that sampler.
        guidance: text of `gencore.settings`, or None for one conditional call.
    """

    sampler: str = "ddim"
    steps: int = 50
    guidance: str | None = None


@dataclass(frozen=True)
class Generated:
    """A finished batch.

    Args:
        tensor: (B, ...) data, as the tokenizer decodes it.
        samples: what users hold, one per sample; also under the modality's own alias (``out.images``).
        seeds: one per sample.
        recipe: how it was made.
        timing: ``seconds`` and network ``calls``.
        pipeline: that made it.
    """

    tensor: Tensor
    samples: list[Any]
    seeds: tuple[int, ...]
    recipe: dict[str, Any]
    timing: dict[str, float]
    pipeline: Pipeline = field(repr=False)

    def __getattr__(self, name: str) -> list[Any]:
        if not name.startswith("_") and name == self.pipeline.modality.alias:
            return self.samples
        raise AttributeError(f"no attribute '{name}'; samples are in .samples and .{self.pipeline.modality.alias}")

    def save(self, path: str | Path, *, force: bool = False, recipe: bool = True) -> list[Path]:
        """Write the samples with their recipe inside; returns the files written.

        Raises:
            InputError: the file exists and `force` is false, or its folder cannot be written.
        """
        return self.pipeline.modality.save(self, Path(path), force=force, recipe=recipe)


@dataclass(frozen=True)
class Progress:
    """One step of `Pipeline.stream`: its index (from 1), the total (0 if unknown), and `output` on the last one."""

    index: int
    total: int
    step: Step = field(repr=False)
    output: Generated | None = None
    _decode: Callable[[Tensor], list[Any]] | None = field(default=None, repr=False)

    @property
    def preview(self) -> list[Any]:
        """The clean estimates so far, as what users hold."""
        assert self._decode is not None
        return self._decode(self.step.preview)


class Pipeline:
    """Tokenizer + conditioner + backbone + process, with defaults.  Safe to share between threads.

    Args:
        modality: a modality or its name.
        defaults: of `generate`.
        card: licence, data, figures: whatever ``gencore info`` should print.
        origin: "packaged:NAME", a hub id, or empty for a local folder; kept in recipes.
    """

    def __init__(
        self,
        *,
        modality: Modality | str,
        tokenizer: Tokenizer,
        conditioner: Conditioner,
        backbone: Backbone,
        process: GaussianProcess,
        defaults: Defaults = Defaults(),
        card: Mapping[str, Any] | None = None,
        origin: str = "",
    ) -> None:
        self.modality = modality_named(modality) if isinstance(modality, str) else modality
        self.tokenizer, self.conditioner, self.backbone, self.process = tokenizer, conditioner, backbone, process
        self.defaults, self.card, self.origin = defaults, dict(card or {}), origin
        self._hash: str | None = None
        self.backbone.eval()

    # ---- generation

    def generate(self, *, batch: int | None = None, callback: Callable[[Progress], None] | None = None,
                 **options: Any) -> Generated:  # fmt: skip
        """Make samples.  Takes the options of `stream`, and:

        Args:
            batch: at most this many samples at a time; the result does not depend on it beyond 1e-5.
            callback: called with every `Progress`; an exception it raises ends the run.

        Raises:
            InputError: an unknown word, or a value out of range; the text says what is accepted.
        """
        plan = self._plan(**options)
        parts = []
        for chunk in plan.chunks(batch):
            for progress in self._run(chunk):
                if callback is not None:
                    callback(progress)
                if progress.output is not None:
                    parts.append(progress.output)
        if len(parts) == 1:
            return parts[0]
        tensor = torch.cat([part.tensor for part in parts])
        timing = {key: sum(part.timing[key] for part in parts) for key in parts[0].timing}
        recipe = {**plan.recipe, "result": content_hash(tensor)}
        return Generated(tensor, [s for part in parts for s in part.samples], plan.seeds, recipe, timing, self)

    def stream(self, **options: Any) -> Iterator[Progress]:
        """Make samples step by step; leaving the loop cancels and frees everything.

        Args:
            n: number of samples; by default what the words say, else 1.
            seed: integer (sample i uses seed + i) or one per sample; None draws one and records it.
            steps, sampler, guidance: None takes the pipeline's default.  A sampler is a `Sampler` or
                ``"name:key=value"``; guidance is a scale, a `Guidance`, or such text.
            known, mask, known_mode: given data, a mask with True (white) = generate, and a mode of `Known`.
            size: of the data grid, where it differs from the default.
            times: exact falling times instead of a number of steps.
            interceptors: caches and recorders attached to this run.
            attention: name of an attention back end.
            any other keyword: a word of this pipeline's conditioner (``label=3``).
        """
        return self._run(self._plan(**options))

    def _plan(self, *, n: int | None = None, seed: int | Sequence[int] | None = None, steps: int | None = None,
              sampler: str | Sampler | None = None, guidance: float | str | Guidance | None = None, known: Any = None,
              mask: Any = None, known_mode: KnownMode = "replace_state", size: Sequence[int] | None = None,
              times: Tensor | None = None, interceptors: Sequence[Interceptor] = (), attention: str = "",
              **words: Any) -> Plan:  # fmt: skip
        for word in words:
            if word not in self.conditioner.words:
                options = ("n", "seed", "steps", "sampler", "guidance", "known", "mask", "known_mode", "size", "times",
                           "interceptors", "attention", "batch", "callback")  # fmt: skip
                raise unknown("option", word, [*self.conditioner.words, *options])
        if n is not None and n < 1:
            raise InputError("n", n, "1 or more")
        if seed is None:
            seed = int.from_bytes(_entropy(4), "little") % 1_000_000
        if n is None and not isinstance(seed, int):
            n = len(seed)
        count, conditions = self.conditioner(words, n)
        check_ports(conditions, self.backbone.ports)
        chosen = self._sampler(sampler)
        if times is None:
            steps = self.defaults.steps if steps is None else steps
            if steps < 1:
                raise InputError("steps", steps, "1 or more")
            times = chosen.times(self.process, self.backbone.prediction.kind, steps)
        elif steps is not None:
            raise InputError("steps", f"{steps} with times", "one of them")
        seeds = seeds_for(seed, count)
        guide = self._guidance(guidance)
        given, given_recipe = self._known(known, mask, known_mode, size)
        spec = self.tokenizer.spec(size)
        recipe = {
            "gencore": 1, "task": "generate", "modality": self.modality.name,
            "model": {"hash": self.hash(), "origin": self.origin, "dtype": str(self.dtype).removeprefix("torch.")},
            "words": {key: _plain(value) for key, value in words.items()}, "seeds": list(seeds), "steps": len(times) - 1,
            "sampler": _described("sampler", chosen), "guidance": None if guide is None else _described("guidance", guide),
            "times": times.tolist() if times.ndim == 1 else None, "size": None if size is None else list(size),
            "known": given_recipe, "interceptors": [type(i).__name__ for i in interceptors], "attention": attention,
            "versions": plugins.versions(self.modality.name),
        }  # fmt: skip
        return Plan(count, seeds, chosen, times, guide, given, spec, conditions, tuple(interceptors), attention, recipe)

    def _run(self, plan: Plan) -> Iterator[Progress]:
        started, net = time.perf_counter(), self.backbone
        conditions = {name: _moved(c, self.device) for name, c in plan.conditions.items()}
        denoise = Denoiser(net, self.process, conditions, guidance=plan.guidance, interceptors=plan.interceptors,
                           attention=plan.attention)  # fmt: skip
        noise = Keyed(plan.seeds, device=self.device)
        run = stream(denoise, plan.sampler, plan.spec, plan.times, noise, known=plan.known, dtype=self.dtype)
        for step in run:
            if not step.done:
                yield Progress(step.index, step.total, step, None, self._show)
                continue
            with torch.no_grad():
                data = self.tokenizer.decode(Latent(step.x)).float().cpu()
            timing = {"seconds": time.perf_counter() - started, "calls": float(denoise.calls)}
            recipe = {**plan.recipe, "result": content_hash(data)}
            out = Generated(data, self.modality.samples(data, self), plan.seeds, recipe, timing, self)
            yield Progress(step.index, step.total or step.index, step, out, self._show)

    @torch.no_grad()
    def _show(self, latent: Tensor) -> list[Any]:
        return self.modality.samples(self.tokenizer.decode(Latent(latent)).float().cpu(), self)

    def _sampler(self, sampler: str | Sampler | None) -> Sampler:
        if isinstance(sampler, Sampler):
            return sampler
        return components.build("sampler", parse(self.defaults.sampler if sampler is None else sampler, "sampler"))

    def _guidance(self, guidance: float | str | Guidance | None) -> Guidance | None:
        if guidance is None:
            guidance = self.defaults.guidance
        if guidance is None or isinstance(guidance, Guidance):
            return guidance
        try:
            scale = float(guidance)
        except ValueError:
            return components.build("guidance", parse(str(guidance), "guidance"))
        default = self.defaults.guidance
        base = components.build("guidance", parse(default, "guidance")) if default else None
        if isinstance(base, ClassifierFree):
            return ClassifierFree(scale, channels=base.channels, interval=base.interval)
        return ClassifierFree(scale)

    def _known(self, known: Any, mask: Any, mode: KnownMode, size: Sequence[int] | None
               ) -> tuple[Known | None, dict[str, Any] | None]:  # fmt: skip
        if known is None and mask is None:
            return None, None
        if known is None or mask is None:
            missing = "known" if known is None else "mask"
            raise InputError(missing, "nothing", "known and mask together")
        if isinstance(known, Known):
            raise InputError("known", "a Known", "data; the pipeline encodes it")
        if size is not None:
            raise InputError("size", f"{tuple(size)} with known data", "the size of the known data is taken")
        data, area = self.modality.known(known, self), self.modality.mask(mask, self)
        value = self.tokenizer.encode(data.to(self.device, self.dtype)).value
        latent_mask = self.tokenizer.mask(area.to(self.device))
        recipe = {"mode": mode, "known": content_hash(data), "mask": content_hash(area),
                  "files": [Path(s).name if isinstance(s, str | Path) else "" for s in (known, mask)]}  # fmt: skip
        return Known(value, latent_mask, mode), recipe

    # ---- where and in what precision

    @property
    def device(self) -> torch.device:
        return next(self.backbone.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.backbone.parameters()).dtype

    def to(self, device: str | torch.device = "auto", dtype: str | torch.dtype = "auto") -> Self:
        """Move to a device ("auto": CUDA where there is one) and a floating dtype ("auto": float32)."""
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if isinstance(dtype, str):
            names = {"auto": torch.float32, "float32": torch.float32, "float64": torch.float64,
                     "bfloat16": torch.bfloat16, "bf16": torch.bfloat16, "float16": torch.float16}  # fmt: skip
            if dtype not in names:
                raise unknown("dtype", dtype, names)
            dtype = names[dtype]
        try:
            self.backbone.to(device, dtype)
        except (RuntimeError, AssertionError) as fault:
            raise InputError("device", device, "cpu, cuda or cuda:N with a driver", str(fault).splitlines()[0]) from fault
        return self

    def compile(self, **options: Any) -> Self:
        """Compile the network with torch.compile; a run with interceptors attached uses it uncompiled."""
        self.backbone.compile(**options)
        return self

    # ---- files

    def hash(self) -> str:
        """Content hash of the weights as loaded."""
        if self._hash is None:
            self._hash = model_hash({**self.backbone.state_dict(), **self.tokenizer.tensors()})
        return self._hash

    def config(self) -> dict[str, Any]:
        """Everything but the weights, as JSON."""
        return {
            "format": FORMAT, "modality": self.modality.name,
            "tokenizer": components.describe("tokenizer", self.tokenizer),
            "conditioner": components.describe("conditioner", self.conditioner),
            "backbone": components.describe("backbone", self.backbone),
            "process": components.describe("process", self.process),
            "defaults": {"sampler": self.defaults.sampler, "steps": self.defaults.steps,
                         "guidance": self.defaults.guidance},
            "card": self.card,
        }  # fmt: skip

    def save_pretrained(self, folder: str | Path, *, dtype: torch.dtype | None = None, force: bool = False) -> Path:
        """Write ``config.json``, ``model.safetensors`` and tokenizer weights to a new folder.

        Args:
            dtype: of the stored floating weights, default as they are.
            force: write into a folder that already holds a model.

        Raises:
            InputError: the folder holds a model, or cannot be written.
        """
        folder = Path(folder)
        if (folder / CONFIG).exists() and not force:
            raise InputError("output", f"{folder} (holds a model)", "a new folder", "--force overwrites it")
        if not folder.parent.is_dir():
            raise InputError("output", folder, "a folder in an existing folder", f"mkdir -p {folder.parent}")
        text = json.dumps(self.config(), indent=1)
        folder.mkdir(exist_ok=True)
        state = {k: v.to(dtype) if dtype and v.is_floating_point() else v for k, v in self.backbone.state_dict().items()}
        write_tensors(folder / WEIGHTS, state, {"gencore": "backbone"}, force=True)
        if tensors := self.tokenizer.tensors():
            write_tensors(folder / TOKENIZER, tensors, {"gencore": "tokenizer"}, force=True)
        from gencore.media.files import atomic_write

        with atomic_write(folder / CONFIG, "w", force=True) as file:
            file.write(text)
        return folder

    @classmethod
    def from_pretrained(cls, folder: str | Path, *, origin: str = "") -> Pipeline:
        """The pipeline in a folder.

        Raises:
            CheckpointError: files missing or damaged, names or shapes that do not fit, weights that are not finite.
        """
        folder = Path(folder)
        try:
            config = json.loads((folder / CONFIG).read_text())
        except (OSError, UnicodeDecodeError, json.JSONDecodeError) as fault:
            raise CheckpointError("model", f"{folder} ({fault})", f"a folder with {CONFIG} and {WEIGHTS}") from fault
        if not isinstance(config, dict) or config.get("format") != FORMAT:
            raise CheckpointError("model", f"{folder / CONFIG}", f"format {FORMAT}", "gencore convert makes one")
        if extra := set(config) - {"format", "modality", "tokenizer", "conditioner", "backbone", "process", "defaults",
                                   "card"}:  # fmt: skip
            raise CheckpointError("model", f"unknown keys {', '.join(sorted(extra))} in {folder / CONFIG}", "none")
        try:
            parts = {k: components.build(k, config[k]) for k in ("tokenizer", "conditioner", "backbone", "process")}
            defaults = Defaults(**config["defaults"])
        except (KeyError, TypeError, AttributeError) as fault:
            raise CheckpointError("model", f"{folder / CONFIG} ({fault})", "a complete configuration") from fault
        tensors, _ = read_tensors(folder / WEIGHTS)
        load_strict(parts["backbone"], tensors)
        if (folder / TOKENIZER).exists():
            parts["tokenizer"].load(read_tensors(folder / TOKENIZER)[0])
        return cls(modality=config["modality"], defaults=defaults, card=config["card"], origin=origin, **parts)


@dataclass(frozen=True)
class Plan:
    """A validated request: everything a run needs, nothing computed yet."""

    count: int
    seeds: tuple[int, ...]
    sampler: Sampler
    times: Tensor
    guidance: Guidance | None
    known: Known | None
    spec: LatentSpec
    conditions: Conditions
    interceptors: tuple[Interceptor, ...]
    attention: str
    recipe: dict[str, Any]

    def chunks(self, size: int | None) -> Iterator[Plan]:
        """The same request in parts of at most `size` samples."""
        if size is not None and size < 1:
            raise InputError("batch", size, "1 or more")
        if size is None or size >= self.count:
            yield self
            return
        from dataclasses import replace

        for start in range(0, self.count, size):
            part = slice(start, start + size)
            seeds = self.seeds[part]
            conditions = {k: _cut(c, part) for k, c in self.conditions.items()}
            yield replace(self, count=len(seeds), seeds=seeds, conditions=conditions)


def _cut(c: Condition, part: slice) -> Condition:
    return Condition(c.value[part], None if c.mask is None else c.mask[part], c.null)


def _moved(c: Condition, device: torch.device) -> Condition:
    return Condition(c.value.to(device), None if c.mask is None else c.mask.to(device), c.null)


def _entropy(size: int) -> bytes:
    from os import urandom

    return urandom(size)


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise InputError("word", type(value).__name__, "text, numbers, or lists of them")


def _described(kind: str, part: Any) -> dict[str, Any]:
    try:
        return components.describe(kind, part)
    except InputError:
        where = f"{type(part).__module__}:{type(part).__qualname__}"
        return {"type": f"{where} (not installed: reproduce needs this class)", **part.config()}


def load_strict(net: Backbone, tensors: Mapping[str, Tensor]) -> None:
    """Load `tensors` into `net`: every name and shape must fit and every value be finite.

    Raises:
        CheckpointError: otherwise, naming the first that do not.
    """
    wanted = net.state_dict()
    missing, extra = sorted(set(wanted) - set(tensors)), sorted(set(tensors) - set(wanted))
    wrong = [k for k in wanted if k in tensors and wanted[k].shape != tensors[k].shape]
    if missing or extra or wrong:
        said = [f"{what} {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}"
                for what, names in (("missing", missing), ("unexpected", extra), ("wrong shape", wrong)) if names]  # fmt: skip
        raise CheckpointError("checkpoint", "; ".join(said), "the names and shapes of this architecture")
    require_finite(tensors)
    net.load_state_dict({k: v.to(wanted[k].dtype) for k, v in tensors.items()})


def modality_named(name: str) -> Modality:
    """The modality a plug-in provides under `name`."""
    return plugins.resolve("modality", name)()  # type: ignore[operator]


def load(name: str, model: str | Path | None = None, device: str = "auto", dtype: str = "auto",
         compile: bool = False) -> Pipeline:  # fmt: skip
    """The pipeline of a modality.

    Args:
        name: the modality.
        model: a folder, a hub id ``owner/name``, or None for the packaged default.
        device, dtype: see `Pipeline.to`.
        compile: compile the network (the first call then takes long).

    Raises:
        InputError: an unknown modality, a model of another modality, or a default that is not packaged.
        CheckpointError: files that do not fit.
    """
    folder, origin = find_model(name, model)
    pipe = Pipeline.from_pretrained(folder, origin=origin)
    if pipe.modality.name != name:
        raise InputError("model", f"{model}, a model of '{pipe.modality.name}'", f"a model of '{name}'")
    pipe.to(device, dtype)
    return pipe.compile() if compile else pipe


def find_model(name: str, model: str | Path | None) -> tuple[Path, str]:
    """The folder of a model and its origin for recipes; a hub id is downloaded once."""
    if model is None:
        from importlib.util import find_spec

        manifest = plugins.provided("modality")[name].manifest if name in plugins.provided("modality") else None
        if manifest is None:
            plugins.resolve("modality", name)
        if manifest is None or not manifest.default:
            raise InputError("model", "nothing", "a folder or hub id: this modality packages no default")
        package, _, inside = manifest.default.partition(":")
        found = find_spec(package)
        if found is None or not found.submodule_search_locations:
            raise InputError("model", f"packaged default of '{name}'", "an installed package", f"gencore doctor shows '{package}'")
        return Path(next(iter(found.submodule_search_locations))) / inside, f"packaged:{name}"
    folder = Path(model)
    if folder.is_dir():
        return folder, ""
    text = str(model)
    if text.count("/") == 1 and not text.startswith((".", "/", "~")):
        from gencore.weights.hub import download

        return download(text), text
    raise InputError("model", text, "a folder, or a hub id owner/name")
