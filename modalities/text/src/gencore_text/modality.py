"""Text as a modality: strings out of token ids."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

import torch
from torch import Tensor

from gencore import components
from gencore.categorical import TokenPrediction
from gencore.errors import InputError
from gencore.media.files import check_output
from gencore.modality import Difference, Modality
from gencore.recipe import read_recipe
from gencore.samplers.sliding import Sliding
from gencore.settings import parse
from gencore_text import io
from gencore_text.energies import SETTINGS, correction
from gencore_text.given import lay_out
from gencore_text.spacing import SpaceFirst
from gencore_text.spelling import tokens_beside, tokens_of
from gencore_text.terminal import View

if TYPE_CHECKING:
    from gencore.data import Data
    from gencore.generated import Generated
    from gencore.pipeline import Pipeline
    from gencore_text.evaluation import Metric
    from gencore_text.tokenizers.base import TextTokenizer

LAYOUT = ("prompt", "suffix", "infill", "length", "blank")
CORRECTION = ("energy", *SETTINGS)


class Text(Modality):
    """Texts of a number of tokens; what the tokenizer calls data are the ids themselves, (B, L) int64."""

    name, alias, suffix = "text", "texts", ".txt"
    words = (*LAYOUT, *CORRECTION)
    metrics, enough = {"all": 16, "bpc": 192, "quality": 16}, 16

    def ready(self, pipe: Pipeline) -> None:
        if not isinstance(pipe.backbone.prediction, TokenPrediction):
            raise InputError("model", "an energy network", "a denoiser", "it corrects one: --energy FOLDER")

    def asked(self, words: Mapping[str, Any], options: Mapping[str, Any], pipe: Pipeline) -> dict[str, Any]:
        meant: dict[str, Any] = {}
        if (transform := correction(pipe, {w: v for w in CORRECTION if (v := words.get(w)) is not None})) is not None:
            options = {**options, "transforms": (*options.get("transforms", ()), transform)}
            meant["transforms"] = options["transforms"]
        said = {word: value for word in LAYOUT if (value := words.get(word)) is not None}
        if given := {"known", "mask"} & options.keys():
            if said:
                raise InputError(next(iter(said)), f"with {', '.join(sorted(given))}", "one way to give text")
            if given == {"known", "mask"}:
                meant |= {"known": self.known(options["known"], pipe), "mask": self.mask(options["mask"], pipe)}
                _check_lengths(meant["known"], meant["mask"], _context(pipe))
                meant["size"] = (meant["known"].shape[1],)
        elif said:
            meant |= _given(said, options, pipe)
        elif "size" in options and max(options["size"], default=0) > _context(pipe):
            raise InputError("size", f"{tuple(options['size'])}", f"1..{_context(pipe)} tokens, the model's context",
                             "--length goes on beyond it")  # fmt: skip
        return meant

    def samples(self, data: Tensor, pipe: Pipeline) -> list[str]:
        return [pipe.tokenizer.text(row) for row in data.tolist()]  # type: ignore[attr-defined]

    def check_output(self, path: Path, seeds: Sequence[int], *, force: bool = False) -> None:
        """A .txt, or a folder (existing, or a name without suffix) whose files of these seeds are free."""
        if not _is_folder(path):
            super().check_output(path, seeds, force=force)
            io.check(path, force)
        elif path.is_dir():
            for file in _files(path, seeds):
                io.check(file, force)
        else:
            check_output(path)

    def save(self, out: Generated, path: Path, *, force: bool = False, recipe: bool = True) -> list[Path]:
        """One .txt, several samples as pages of it, and the recipe beside it.  A folder takes one .txt a sample."""
        self.check_output(path, out.seeds, force=force)
        tokenizer = cast("TextTokenizer", out.pipeline.tokenizer)
        tokens = tokens_beside(tokenizer, out.samples, out.tensor.tolist())
        if not _is_folder(path):
            io.write(out.samples, path, {**out.recipe, **_told(tokens)} if recipe else None, force)
            return [path]
        path.mkdir(exist_ok=True)
        files = _files(path, out.seeds)
        for i, (text, file) in enumerate(zip(out.samples, files, strict=True)):
            told = {"index": i, **out.recipe, **_told(tokens[i : i + 1])}
            io.write([text], file, told if recipe else None, force)
        return files

    def load(self, path: Path, pipe: Pipeline) -> Tensor:
        """(B, L) ids of a file: those it was made of where its recipe holds them, else those of its text; shorter
        pages are filled up with the tokenizer's padding."""
        pages, recipe = _pages(path)
        rows = tokens_of(pipe.tokenizer, pages, recipe.get("tokens"))  # type: ignore[arg-type]
        longest = max(map(len, rows))
        if not longest:
            raise InputError("file", f"{path} (empty)", "a text of at least one token")
        if len({len(row) for row in rows}) > 1:
            pad = pipe.tokenizer.pad_id  # type: ignore[attr-defined]
            rows = [[*row, *[pad] * (longest - len(row))] for row in rows]
        return torch.tensor(rows, dtype=torch.int64)

    def difference(self, out: Generated, path: Path, recipe: dict[str, Any]) -> Difference:
        """Compare character by character."""
        kept = io.split(io.read(path), len(out.samples))
        if len(kept) != len(out.samples):
            return Difference(0, len(out.samples), f"of number, {len(kept)} and {len(out.samples)} texts")
        unequal = [(a, b) for a, b in zip(kept, out.samples, strict=True) if a != b]
        if not unequal:
            return Difference(len(kept), len(kept))
        wrong = [sum(x != y for x, y in zip(a, b, strict=False)) + abs(len(a) - len(b)) for a, b in unequal]
        return Difference(len(kept) - len(unequal), len(kept), f"{max(wrong)} characters")

    def known(self, source: Any, pipe: Pipeline, field: str = "known") -> Tensor:
        """(1, L) ids of a text file (a path), of a string, or of ids."""
        if isinstance(source, Tensor):
            data = source if source.ndim == 2 else source[None]
        else:
            text = io.read(source, field) if isinstance(source, Path) else str(source)
            data = torch.tensor([pipe.tokenizer.ids(text)], dtype=torch.int64)  # type: ignore[attr-defined]
        return _fitting(data, pipe, field)

    def mask(self, source: Any, pipe: Pipeline) -> Tensor:
        """(1, 1, L) bool of a text of 0 (kept) and 1 (made anew), one a token."""
        if isinstance(source, Tensor):
            area = source.reshape(-1, 1, source.shape[-1])
            return area if area.dtype == torch.bool else area > 0.5
        text = (io.read(source, "mask") if isinstance(source, Path) else str(source)).strip()
        if not text or set(text) - {"0", "1"}:
            raise InputError("mask", repr(text[:20]), "0 (kept) and 1 (made anew), one a token of the known text")
        return torch.tensor([[[digit == "1" for digit in text]]])

    def dataset(self, source: Path | None, pipe: Pipeline | None = None, *, held_out: bool = False,
                **options: Any) -> Data:  # fmt: skip
        """Pieces of a corpus, by `open_text`; without a source, the excerpt the package holds."""
        from gencore_text.data import open_text

        tokenizer = None if pipe is None else pipe.tokenizer
        return open_text(source, tokenizer, held_out=held_out, **options)

    def evaluate(self, pipe: Pipeline, data: Data, *, n: int, seed: int = 0, train: Data | None = None,
                 progress: Callable[[int, int], None] | None = None, metric: Metric = "all"
                 ) -> dict[str, Any]:  # fmt: skip
        """Bits per character and the quality of samples; see `gencore_text.evaluation`."""
        from gencore_text.evaluation import evaluate

        return evaluate(pipe, data, n=n, seed=seed, train=train, metric=metric, progress=progress)

    def view(self, pipe: Pipeline, stream: TextIO) -> View:
        return View(pipe, stream)

    def showcase(self, pipe: Pipeline, seed: int) -> Generated:
        return pipe.generate(**self.example(pipe, 4), seed=seed)

    def html(self, path: Path) -> str:
        text = io.to_bytes(io.read(path)).decode("utf-8", "replace").replace(io.PAGE, "* * *")
        return f"<pre>{escape(text)}</pre>"


def _given(said: dict[str, Any], options: Mapping[str, Any], pipe: Pipeline) -> dict[str, Any]:
    """What the words of a layout mean."""
    if "size" in options:
        raise InputError("size", f"{tuple(options['size'])} with {', '.join(said)}", "--length alone")
    if "blank" in said and "infill" not in said:
        raise InputError("blank", said["blank"], "nothing without --infill")
    prompts, rest = _prompts(said), {word: value for word, value in said.items() if word != "prompt"}
    for word in ("suffix", "infill"):
        if word in rest and not isinstance(rest[word], str):
            raise InputError(word, type(rest[word]).__name__, "text")
    context, tokenizer = _context(pipe), cast("TextTokenizer", pipe.tokenizer)
    layouts = [lay_out(tokenizer, prompt=prompt, **rest, context=context) for prompt in prompts]
    if len(lengths := {layout.ids.shape[1] for layout in layouts}) > 1:
        raise InputError("prompt", f"texts of {min(lengths)} to {max(lengths)} tokens", "one length", "length=N")
    (length,) = lengths
    ids, free = (torch.cat(column) for column in list(zip(*layouts, strict=True))[:2])
    meant: dict[str, Any] = {"size": (length,)}
    if isinstance(said.get("prompt"), list | tuple):
        meant["n"] = _count(len(prompts), options)
    if not bool(free.all()):
        meant |= {"known": ids, "mask": free}
    if places := layouts[0].spaced:
        first = SpaceFirst(places, tokenizer.spaced, ids, free[:, 0])
        meant["transforms"] = (first, *options.get("transforms", ()))
    return meant if length <= context else meant | _beyond(context, options, pipe)


def _prompts(said: Mapping[str, Any]) -> list[str | None]:
    """The prompt of each sample, or the one of all."""
    prompt = said.get("prompt")
    if prompt is None or isinstance(prompt, str):
        return [prompt]
    if not isinstance(prompt, list | tuple) or not prompt or not all(isinstance(text, str) for text in prompt):
        raise InputError("prompt", "an empty list" if prompt in ([], ()) else type(prompt).__name__,
                         "text, or a list with one text a sample")  # fmt: skip
    return [*prompt]


def _count(prompts: int, options: Mapping[str, Any]) -> int:
    """The number of samples, which is that of the prompts."""
    if (n := options.get("n", prompts)) != prompts:
        raise InputError("n", n, f"{prompts}, the number of prompts, or nothing")
    return prompts


def _beyond(context: int, options: Mapping[str, Any], pipe: Pipeline) -> dict[str, Any]:
    """Windows over a text that is longer than the context; each goes on from the second half of the one before."""
    if (mode := options.get("known_mode", "replace_state")) != "replace_state":
        raise InputError("known_mode", mode, "replace_state for a text beyond the model's context")
    sampler = options.get("sampler", pipe.defaults.sampler)
    if isinstance(sampler, str):
        sampler = components.build("sampler", parse(sampler, "sampler"))
    if not isinstance(sampler, Sliding):
        sampler = Sliding(sampler, context, max(1, context // 2))
    return {"sampler": sampler, "known_mode": "replace_state"}


def _context(pipe: Pipeline) -> int:
    """The most tokens the network saw at once in training."""
    return pipe.tokenizer.spec().sizes[0]


def _fitting(data: Tensor, pipe: Pipeline, field: str) -> Tensor:
    spec = pipe.tokenizer.spec()
    if data.is_floating_point() or data.ndim != 2:
        raise InputError(field, f"{data.dtype} of shape {tuple(data.shape)}", "(1, L) int64 token ids")
    stray = data[(data < 0) | (data >= (spec.vocab or 0)) | (data == getattr(pipe.process, "mask_id", -1))]
    if len(stray):
        raise InputError(field, f"token id {int(stray[0])}", f"ids of text, 0..{(spec.vocab or 0) - 1} and no mask")
    return data


def _check_lengths(known: Tensor, mask: Tensor, context: int) -> None:
    if not 1 <= known.shape[1] <= context:
        raise InputError("known", f"{known.shape[1]} tokens", f"1..{context} tokens, the model's context")
    if known.shape[1] != mask.shape[-1]:
        raise InputError("mask", f"{mask.shape[-1]} tokens", f"{known.shape[1]}, as many as the known text")


def _is_folder(path: Path) -> bool:
    return path.is_dir() or path.suffix == ""


def _files(folder: Path, seeds: Sequence[int]) -> list[Path]:
    return [folder / f"seed-{seed}.txt" for seed in seeds]


def _told(tokens: list[list[int] | None]) -> dict[str, Any]:
    return {"tokens": tokens} if any(tokens) else {}


def _pages(path: Path) -> tuple[list[str], dict[str, Any]]:
    """The texts of a file that `save` wrote, by its recipe, or the one text of any other file; and the recipe."""
    try:
        recipe = read_recipe(path)
    except InputError:
        recipe = {}
    return io.split(io.read(path), 1 if "index" in recipe else len(recipe.get("seeds", [0]))), recipe
