"""``gencore reproduce FILE``: make a file's content again from its recipe, and compare."""

from __future__ import annotations

import json
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any

from gencore.cli.parser import Parser
from gencore.cli.progress import of_steps, progress
from gencore.errors import InputError, nearest
from gencore.plugins import versions
from gencore.recipe import read_recipe

if TYPE_CHECKING:
    from gencore.generated import Generated
    from gencore.modality import Difference
    from gencore.pipeline import Pipeline
    from gencore.request import Request

_ENTRIES: dict[str, tuple[type, ...]] = {
    "gencore": (int,), "task": (str,), "modality": (str,), "model": (dict,), "words": (dict,), "seeds": (list,),
    "steps": (int, NoneType), "times": (list, NoneType), "sampler": (dict,), "guidance": (dict, NoneType),
    "size": (list, NoneType), "known": (dict, NoneType), "interceptors": (list,), "transforms": (list,),
    "implied": (list,), "attention": (str,), "start": (dict, NoneType),
    "versions": (dict,), "result": (str,), "batch": (int, NoneType), "index": (int,), "edit": (dict,),
    "tokens": (list,),
}  # fmt: skip
_NUMBERS = {"seeds": (int,), "size": (int,), "times": (int, float)}
_OPTIONAL = {"batch", "index", "edit", "tokens"}


def add_arguments(parser: Parser) -> None:
    """Declare the options of ``gencore reproduce``."""
    parser.description = "Make what a file holds again from the recipe inside it; exit 1 if the result differs."
    parser.add_argument("file", type=Path, help="a file gencore wrote")
    parser.add_argument("--model", help="folder or hub id of the model, where the recipe's cannot be found")
    parser.add_argument("--known", "--given", type=Path, help="the given file, where the recipe names one")
    parser.add_argument("--mask", type=Path, help="its mask")
    parser.add_argument("--source", type=Path, help="the file that was edited, where the recipe is of an edit")
    parser.add_argument("--start", type=Path, help="the inversion it started from, where the recipe names one")
    parser.add_argument("--device", default="auto", help="cpu, cuda or cuda:N (default: auto)")
    parser.add_argument("-o", "--output", type=Path, help="write the result here")
    parser.add_argument("--force", action="store_true", help="overwrite the output")
    parser.add_argument("--quiet", action="store_true", help="nothing on stderr")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")


def run(args: Namespace) -> int:
    """Print the verdict: 0 equal, 1 different.

    Raises:
        InputError: no usable recipe, or an input it names is missing or another one.
    """
    recipe = checked(read_recipe(args.file))
    _check_inputs(recipe, args)

    from gencore.loading import load

    origin = recipe["model"]["origin"]
    model = args.model or (None if origin.startswith("packaged:") else origin)
    pipe = load(recipe["modality"], model, device=args.device, dtype=recipe["model"]["dtype"])
    if (found := pipe.hash()) != recipe["model"]["hash"]:
        raise InputError("model", f"{model or origin} ({found})", f"the model with {recipe['model']['hash']}",
                         "--model FOLDER names it")  # fmt: skip
    if args.output:
        pipe.modality.check_output(args.output, recipe["seeds"], force=args.force)
    chunks = -(-len(recipe["seeds"]) // (recipe.get("batch") or len(recipe["seeds"])))
    with progress("steps", quiet=args.quiet) as report:
        if "edit" in recipe:
            out = _edited(recipe, pipe, args, of_steps(report))
        else:
            out = pipe.generate(**_options(recipe, pipe, args), callback=of_steps(report, chunks))
    if (index := recipe.get("index")) is not None:
        out = replace(out, tensor=out.tensor[index : index + 1], samples=[out.samples[index]],
                      seeds=(out.seeds[index],), recipe={**out.recipe, "index": index})  # fmt: skip
    told = pipe.modality.difference(out, args.file, recipe)
    files = out.save(args.output, force=args.force) if args.output else []
    changed = _changed(recipe)
    if args.json:
        data = {"equal": told.equal, "samples": told.total, "largest": told.largest, "versions": changed}
        print(json.dumps({**data, "files": [str(file) for file in files]}))
    else:
        print(_verdict(told, changed))
    return int(told.equal < told.total)


def checked(recipe: dict[str, Any]) -> dict[str, Any]:
    """`recipe` if this version can follow it.

    Raises:
        InputError: another version, an entry it does not know or lacks, or a part that only ran in memory.
    """
    if recipe.get("gencore") != 1 or recipe.get("task") != "generate":
        given = f"version {recipe.get('gencore')}, task {recipe.get('task')}"
        raise InputError("recipe", given, "version 1, task generate", "pip install --upgrade gencore")
    for name, value in recipe.items():
        if name not in _ENTRIES:
            raise InputError("recipe", f"the entry '{name}'", ", ".join(sorted(_ENTRIES)), nearest(name, _ENTRIES))
        if not isinstance(value, _ENTRIES[name]):
            raise InputError("recipe", f"'{name}' = {str(value)[:60]}", " or ".join(t.__name__ for t in _ENTRIES[name]))
        if name in _NUMBERS and not all(type(item) in _NUMBERS[name] for item in value or ()):
            raise InputError("recipe", f"'{name}' = {str(value)[:60]}", "numbers")
    if missing := sorted(_ENTRIES.keys() - _OPTIONAL - recipe.keys()):
        raise InputError("recipe", f"no entry '{missing[0]}'", ", ".join(sorted(_ENTRIES)))
    if not {"hash", "origin", "dtype"} <= recipe["model"].keys():
        raise InputError("recipe", "model without hash, origin and dtype", "a recipe as gencore writes it")
    if not 0 <= recipe.get("index", 0) < len(recipe["seeds"]):
        raise InputError("recipe", f"index {recipe.get('index')} of {len(recipe['seeds'])} seeds", "one of them")
    if recipe["transforms"]:
        names = ", ".join(map(str, recipe["transforms"]))
        raise InputError("recipe", f"transforms {names}", "none: attach them in Python and compare there")
    parts = [("sampler", recipe["sampler"]), ("guidance", recipe["guidance"] or {}),
             *(("interceptor", part) for part in recipe["interceptors"])]  # fmt: skip
    for kind, part in parts:
        if not isinstance(part, dict):
            raise InputError("recipe", f"{kind} {part!r:.60}", "a type and its settings")
        if "(not installed" in (name := str(part.get("type", ""))):
            raise InputError(kind, name, "an installed one", "a manifest's provides makes it so")
    return recipe


def _check_inputs(recipe: dict[str, Any], args: Namespace) -> None:
    """Everything the recipe needs and the command line did not name, in one error."""
    missing = []
    if not recipe["model"]["origin"] and not args.model:
        missing.append(f"--model FOLDER with {recipe['model']['hash']}")
    known = recipe["known"]
    for i, name in enumerate(("known", "mask")):
        if known and known["files"][i] is not None and getattr(args, name) is None:
            missing.append(f"--{name} {known['files'][i] or 'FILE'} with {known[name]}")
        elif not (known and known["files"][i] is not None) and getattr(args, name) is not None:
            raise InputError(f"--{name}", getattr(args, name), "nothing: this recipe gives no cells")
    if "edit" in recipe and args.source is None:
        missing.append(f"--source {recipe['edit']['source'] or 'FILE'} with {recipe['edit']['hash']}")
    if args.source is not None and "edit" not in recipe:
        raise InputError("--source", args.source, "nothing: this recipe edits no file")
    if recipe["start"] and args.start is None:
        missing.append(f"--start {recipe['start']['file'] or 'FILE'} with {recipe['start']['hash']}")
    if args.start is not None and not recipe["start"]:
        raise InputError("--start", args.start, "nothing: this recipe starts from noise")
    if missing:
        raise InputError("recipe", "inputs that are not here", "; ".join(missing))


def _edited(recipe: dict[str, Any], pipe: Pipeline, args: Namespace, callback: Any) -> Generated:
    from gencore import components
    from gencore.editing import edit
    from gencore.recipe import content_hash
    from gencore.request import request

    said = recipe["edit"]
    if (found := content_hash(pipe.modality.known(args.source, pipe))) != said["hash"]:
        raise InputError("--source", f"{args.source} ({found})", f"the file with {said['hash']}")
    guidance = 1.0 if recipe["guidance"] is None else components.build("guidance", recipe["guidance"])
    after = recipe["words"] | _given(recipe, args)
    if recipe["known"]:
        _check_given(recipe, args, request(pipe, n=len(recipe["seeds"]), seed=recipe["seeds"], **after))
    return edit(pipe, args.source, said["before"], after, steps=recipe["steps"], guidance=guidance,
                sampler=components.build("sampler", recipe["sampler"]), inject=said["inject"], blocks=said["blocks"],
                strength=said["strength"], callback=callback)  # fmt: skip


def _options(recipe: dict[str, Any], pipe: Pipeline, args: Namespace) -> dict[str, Any]:
    """The recipe as options of `Pipeline.generate`."""
    import torch

    from gencore import components
    from gencore.inversion import Inverted
    from gencore.recipe import content_hash
    from gencore.request import request

    options: dict[str, Any] = {name: recipe[name] for name in ("steps", "size", "attention")}
    options |= recipe["words"] | {"seed": recipe["seeds"], "n": len(recipe["seeds"]), "batch": recipe.get("batch")}
    options["interceptors"] = [components.build("interceptor", part) for part in recipe["interceptors"]]
    options["sampler"] = components.build("sampler", recipe["sampler"])
    if recipe["guidance"] is not None:
        options["guidance"] = components.build("guidance", recipe["guidance"])
    elif pipe.defaults.guidance is not None:
        options["guidance"] = 1.0
    if recipe["times"] is not None:
        options["times"] = torch.tensor(recipe["times"], dtype=torch.float64)
    if start := recipe["start"]:
        options["start"] = begin = Inverted.load(args.start)
        if (found := content_hash(begin.x)) != start["hash"]:
            raise InputError("--start", f"{args.start} ({found})", f"the file with {start['hash']}")
        del options["steps"]
    options |= _given(recipe, args)
    asked = request(pipe, **{name: value for name, value in options.items() if name != "batch"})
    if asked.recipe["implied"] != recipe["implied"]:
        words = ", ".join(f"--{word}" for word in recipe["words"])
        raise InputError(words or "words", "another model or setting behind them than the file was made with",
                         f"{recipe['implied']}"[:200])  # fmt: skip
    _check_given(recipe, args, asked)
    return options


def _given(recipe: dict[str, Any], args: Namespace) -> dict[str, Any]:
    """The cells that are given, as options of `Pipeline.generate`."""
    if not recipe["known"]:
        return {}
    return {"known": args.known, "mask": args.mask, "known_mode": recipe["known"]["mode"]}


def _check_given(recipe: dict[str, Any], args: Namespace, asked: Request) -> None:
    for name in ("known", "mask") if recipe["known"] else ():
        found, wanted = asked.recipe["known"][name], recipe["known"][name]
        if found != wanted:
            raise InputError(f"--{name}", f"{getattr(args, name)} ({found})", f"the file with {wanted}")


def _changed(recipe: dict[str, Any]) -> dict[str, list[str]]:
    """``{distribution: [version of the recipe, version here]}`` where they differ."""
    now = versions(recipe["modality"])
    then = recipe["versions"]
    return {n: [then.get(n, "-"), now.get(n, "-")] for n in sorted({*then, *now}) if then.get(n) != now.get(n)}


def _verdict(told: Difference, changed: dict[str, list[str]]) -> str:
    if told.equal == told.total:
        return f"equal: {told.equal} of {told.total} samples bit-equal"
    causes = [f"{name} {then} -> {now}" for name, (then, now) in changed.items()] or ["same versions"]
    if told.largest:
        causes.append(f"max difference {told.largest}")
    return f"differs: {', '.join(causes)}; {told.equal} of {told.total} samples bit-equal"
