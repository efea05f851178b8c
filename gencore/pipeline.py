"""A pipeline: the parts of a trained model, and what users call."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from gencore import components, plugins
from gencore.backbone import Backbone
from gencore.condition import Condition
from gencore.conditioner import Conditioner
from gencore.denoiser import Denoiser
from gencore.errors import InputError, unknown
from gencore.generated import Generated, Progress
from gencore.inversion import Inverted, rising, walked
from gencore.known import KnownMode
from gencore.media.files import atomic_write
from gencore.modality import Modality
from gencore.models import CONFIG, FORMAT, TOKENIZER, WEIGHTS, find_model
from gencore.noise import Keyed, Noise
from gencore.process import Process
from gencore.recipe import content_hash, model_hash
from gencore.request import Request, request
from gencore.rollout import rollout
from gencore.run import Step, stream
from gencore.tokenizer import Latent, Tokenizer
from gencore.weights.files import write_tensors

_DTYPES = {
    "auto": torch.float32, "float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16,
    "bf16": torch.bfloat16, "float16": torch.float16,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Defaults:
    """What `generate` does when nothing is said.

    Args:
        sampler: text of `gencore.settings`.
        steps: of that sampler.
        guidance: text of `gencore.settings`, or None for one conditional call.
        known_mode: of `Known`: how this network was taught to see given cells.
    """

    sampler: str = "ddim"
    steps: int = 50
    guidance: str | None = None
    known_mode: KnownMode = "replace_state"


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
        process: Process,
        defaults: Defaults = Defaults(),
        card: Mapping[str, Any] | None = None,
        origin: str = "",
    ) -> None:
        if isinstance(modality, str):
            modality = plugins.resolve("modality", modality)()  # type: ignore[operator]
        self.modality: Modality = modality  # type: ignore[assignment]
        self.tokenizer, self.conditioner, self.backbone, self.process = tokenizer, conditioner, backbone, process
        self.defaults, self.card, self.origin = defaults, dict(card or {}), origin
        self._hashed: tuple[Any, str] = ((), "")
        self.backbone.eval()

    def generate(self, *, batch: int | None = None, callback: Callable[[Progress], None] | None = None,
                 **options: Any) -> Generated:  # fmt: skip
        """Make samples.  Takes the options of `stream`, and:

        Args:
            batch: at most this many samples at a time; the result does not depend on it beyond 1e-5.
            callback: called with every `Progress`; an exception it raises ends the run.

        Raises:
            InputError: an unknown word, or a value out of range; the text says what is accepted.
        """
        whole = request(self, **options)
        parts: list[Generated] = []
        for chunk in whole.chunks(batch):
            for progress in self._run(chunk):
                if callback is not None:
                    callback(progress)
                if progress.output is not None:
                    parts.append(progress.output)
        if len(parts) == 1:
            return parts[0]
        tensor = torch.cat([part.tensor for part in parts])
        timing = {key: sum(part.timing[key] for part in parts) for key in parts[0].timing}
        recipe = {**whole.recipe, "batch": batch, "result": content_hash(tensor)}
        caches = tuple(told for part in parts for told in part.caches)
        samples = [s for part in parts for s in part.samples]
        return Generated(tensor, samples, whole.seeds, recipe, timing, self, caches)

    def stream(self, **options: Any) -> Iterator[Progress]:
        """Make samples step by step; leaving the loop cancels and frees everything.

        Args:
            n: number of samples; by default what the words say, else 1.
            seed: integer (sample i uses seed + i) or one per sample; None draws one and records it.
            steps, sampler, guidance: None takes the pipeline's default.  A sampler is a `Sampler` or
                ``"name:key=value"``; guidance is a scale, a `Guidance`, or such text.
            known, mask, known_mode: given data, a mask with True (white) = generate, and a mode of `Known` (None
                takes the pipeline's default).
            size: of the data grid, where it differs from the default.
            times: exact falling times instead of a number of steps.
            start: an `Inverted`, or its file, to sample from instead of noise; it brings its times.
            interceptors: caches and recorders attached to this run, as objects, ``"name:key=value"``, a
                `gencore.tuning.cache_plan.CachePlan` or its .json file.
            transforms: of predictions, between the network and the sampler.
            attention: name of an attention back end.
            any other keyword: a word of this pipeline's conditioner (``label=3``) or of its modality.

        Raises:
            InputError: as `generate`.
        """
        return self._run(request(self, **options))

    def invert(self, source: Any, *, strength: float = 1.0, callback: Callable[[Step], None] | None = None,
               **options: Any) -> Inverted:  # fmt: skip
        """Walk given data back to noise: ``generate(start=..., guidance=1)`` with the same words
        returns to it.

        Args:
            source: what the modality calls known data: a file, a tensor, or what users hold.
            strength: share of the steps to walk, from the clean end; less keeps more of the data when edited.
            callback: called with every finished step.
            options: steps, times, sampler (bdia unless said), guidance (1 unless said), interceptors, words and known
                cells, which are not walked, as for `stream`.

        Raises:
            InputError: a sampler that cannot walk backwards, or as `stream`.
        """
        data = self.modality.known(source, self)
        asked = request(self, **{"n": len(data), "seed": 0, "sampler": "bdia", "guidance": 1.0, **options})
        if not asked.sampler.inverts:
            raise InputError("sampler", type(asked.sampler).__name__,
                             "one that inverts: bdia, rf-solver, ddim, euler, heun")  # fmt: skip
        if asked.start is not None or asked.rollout is not None:
            raise InputError("start" if asked.start else "roll-out", "one with an inversion", "neither of them")
        if asked.known is not None and asked.known.mode == "replace_state":
            raise InputError("known mode", "replace_state with an inversion", "compose_input or per_token_time",
                             "its given cells have a noise of their own, which no walk leads to")  # fmt: skip
        with torch.no_grad():
            x = self.tokenizer.encode(data.to(self.device, self.dtype)).value.double()
        kind, exact = self.backbone.prediction.kind, options.get("times") is not None
        sampler, times = walked(asked.sampler, asked.times, self.process, kind, exact=exact)
        state = asked.sampler.init(x, rising(times, strength), self.process)
        noise = Keyed(asked.seeds, device=self.device)
        denoise = self._denoiser(asked, noise)
        for step in stream(denoise, sampler, asked.spec, times, noise, known=asked.known, state=state):
            state = step.state
            if callback is not None:
                callback(step)
        turned = asked.sampler.turned(state)
        recipe = {**asked.recipe, "task": "invert", "source": content_hash(data), "strength": strength}
        return Inverted(turned.x.cpu(), turned.i, turned.times, tuple(m.cpu() for m in turned.memory), asked.sampler,
                        recipe)  # fmt: skip

    def _denoiser(self, asked: Request, noise: Noise, store: dict[tuple[str, ...], Any] | None = None) -> Denoiser:
        conditions = {name: _moved(c, self.device) for name, c in asked.conditions.items()}
        return Denoiser(self.backbone, self.process, conditions, guidance=asked.guidance, noise=noise,
                        transforms=asked.transforms, interceptors=asked.interceptors, attention=asked.attention,
                        dtype=self.dtype, store=store)  # fmt: skip

    def _run(self, asked: Request) -> Iterator[Progress]:
        started = time.perf_counter()
        noise, denoisers = Keyed(asked.seeds, device=self.device), list[Denoiser]()
        store: dict[tuple[str, ...], Any] = {}

        def denoiser(source: Noise) -> Denoiser:
            denoisers.append(self._denoiser(asked, source, store))
            return denoisers[-1]

        run = (asked.sampler, asked.spec, asked.times, noise)
        if asked.rollout is None:
            state = None if asked.start is None else asked.start.state(asked.sampler, self.process, self.device)
            steps = stream(denoiser(noise), *run, known=asked.known, state=state, dtype=self.dtype)
        else:
            steps = rollout(asked.rollout, denoiser, *run, known=asked.known, dtype=self.dtype)
        for step in steps:
            if not step.done:
                yield Progress(step.index, step.total, step, None, self._show)
                continue
            data = self._decode(step.x)
            timing = {"seconds": time.perf_counter() - started, "calls": float(sum(d.calls for d in denoisers))}
            recipe = {**asked.recipe, "result": content_hash(data)}
            caches = tuple(
                {"type": type(part).__name__, **told}
                for part in asked.interceptors
                if (told := part.report(store, asked.sampler))
            )
            out = Generated(data, self.modality.samples(data, self), asked.seeds, recipe, timing, self, caches)
            yield Progress(step.index, step.total or step.index, step, out, self._show)

    @torch.no_grad()
    def _decode(self, latent: Tensor) -> Tensor:
        moved = latent.to(self.dtype) if latent.is_floating_point() else latent
        data = self.tokenizer.decode(Latent(moved)).cpu()
        return data.float() if data.is_floating_point() else data

    def _show(self, latent: Tensor) -> list[Any]:
        return self.modality.samples(self._decode(latent), self)

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
            if dtype not in _DTYPES:
                raise unknown("dtype", dtype, _DTYPES)
            dtype = _DTYPES[dtype]
        try:
            self.backbone.to(device, dtype)
        except (RuntimeError, AssertionError) as fault:
            reason = str(fault).splitlines()[0]
            raise InputError("device", device, "cpu, cuda or cuda:N with a driver", reason) from fault
        return self

    def compile(self) -> Self:
        """Compile the network for inference, for any batch size; the first call then takes long.

        Its weights become constants of the graph, packed once; change them no more.  That is a setting of
        torch.compile for the whole process (``torch._inductor.config.freezing``).  A run with interceptors attached
        uses the network uncompiled.
        """
        import torch._inductor.config as inductor

        inductor.freezing = True
        self.backbone.requires_grad_(False)
        self.backbone.compile(dynamic=True)
        return self

    def hash(self) -> str:
        """Content hash of the weights as they are now; computed anew only when some tensor was written to."""
        tensors = {**self.backbone.state_dict(), **self.tokenizer.tensors()}
        state = tuple((name, t.data_ptr(), t._version) for name, t in tensors.items())
        known, found = self._hashed
        if state != known:
            found = model_hash(tensors)
            self._hashed = (state, found)
        return found

    def config(self) -> dict[str, Any]:
        """Everything but the weights, as JSON."""
        return {
            "format": FORMAT, "modality": self.modality.name,
            "tokenizer": components.describe("tokenizer", self.tokenizer),
            "conditioner": components.describe("conditioner", self.conditioner),
            "backbone": components.describe("backbone", self.backbone),
            "process": components.describe("process", self.process),
            "defaults": asdict(self.defaults), "card": self.card,
        }  # fmt: skip

    def save_pretrained(self, folder: str | Path, *, dtype: torch.dtype | None = None, force: bool = False) -> Path:
        """Write ``config.json``, ``model.safetensors`` and tokenizer weights to a folder.

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
        state = self.backbone.state_dict()
        folder.mkdir(exist_ok=True)
        cast = {k: v.to(dtype) if dtype and v.is_floating_point() else v for k, v in state.items()}
        write_tensors(folder / WEIGHTS, cast, {"gencore": "backbone"}, force=True)
        if tensors := self.tokenizer.tensors():
            write_tensors(folder / TOKENIZER, tensors, {"gencore": "tokenizer"}, force=True)
        with atomic_write(folder / CONFIG, "w", force=True) as file:
            file.write(text)
        return folder

    @classmethod
    def from_pretrained(cls, model: str | Path) -> Pipeline:
        """The pipeline in a folder, or of a hub id.

        Raises:
            CheckpointError: files that do not fit.
        """
        from gencore.loading import load_folder

        folder, origin = find_model("", model)
        return load_folder(folder, origin=origin)


def _moved(c: Condition, device: torch.device) -> Condition:
    return Condition(c.value.to(device), None if c.mask is None else c.mask.to(device), c.null)
