"""``gencore train M``: train, fine-tune or resume a run in a folder."""

from __future__ import annotations

import json
import os
import shutil
import sys
from argparse import Namespace
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from gencore.cli import parallel, words
from gencore.cli.parser import Parser
from gencore.cli.progress import progress
from gencore.errors import InputError, MissingDependency
from gencore.plugins import plugin_names, provided

if TYPE_CHECKING:
    from gencore.training.run import Outcome
    from gencore.training.setup import Prepared, Setup

_OPTIONS = ("preset", "base", "data", "size", "steps", "batch", "lr", "seed", "precision", "accumulate",
            "gradient_checkpointing", "compile", "workers", "every", "ranks", "tensorboard")  # fmt: skip


def add_arguments(parser: Parser) -> None:
    """Declare the options of ``gencore train``."""
    parser.description = "Train a model into a folder: model/ is ready to use, the rest continues the run."
    manifest = words.add_modality(parser)
    presets = plugin_names(provided("modality")[manifest.name], "preset") if manifest else []
    add = parser.add_argument
    add("--preset", help=f"what to train (default: the first): {', '.join(presets) or 'none of this modality'}")
    add("--data", help="folder or file with the training data")
    add("--size", type=words.size, metavar="HxW", help="of the data, where it and the preset leave it open")
    add("--from", dest="base", metavar="MODEL", help="fine-tune this folder or hub id; the modality means its own")
    add("--resume", type=Path, metavar="RUN", help="continue an interrupted run; needs nothing else")
    add("--steps", type=int, help="optimiser steps in all (default: the preset's)")
    add("--batch", type=int, help="items a step, over processes and micro-batches (default: the preset's)")
    add("--lr", type=float, help="peak learning rate (default: the preset's)")
    add("--seed", type=int, help="of weights, order and every draw (default: 0)")
    add("--precision", help="32 or bf16 (default: the preset's)")
    add("--accumulate", type=int, help="micro-batches a step, where memory is short (default: 1)")
    add("--gradient-checkpointing", action="store_true", default=None,
        help="recompute blocks in the backward pass, where memory is short and the network offers it")  # fmt: skip
    add("--compile", action="store_true", default=None, help="compile the network's blocks")
    add("--workers", type=int, help="processes that read data (default: 0, in this one)")
    add("--every", type=int, help="steps between checkpoints and previews (default: 500)")
    add("--parallel", dest="ranks", type=parallel.ranks, metavar="dp=N", help="N processes that share each batch")
    add("--tensorboard", action="store_true", default=None, help="log curves and previews for TensorBoard too")
    add("--device", default="auto", help="cpu, or auto (default)")
    add("--dry-run", action="store_true", help="look at the data and measure a step; write nothing")
    add("-o", "--output", type=Path, metavar="RUN", help="new folder of the run (default: a new name)")
    add("--quiet", action="store_true", help="nothing on stderr")
    add("--json", action="store_true", help="one JSON object on stdout")


def run(args: Namespace) -> int:
    """Train; 0 when all steps are done, 130 when interrupted.

    Raises:
        GencoreError: something that cannot be used; then no folder is left behind.
    """
    if find_spec("lightning") is None:
        raise MissingDependency("lightning", "training", "gencore[train]")
    from gencore.training.callbacks import LAST
    from gencore.training.setup import Setup, default_preset, prepare, read_setup, write_setup

    typed = {name: value for name in _OPTIONS if (value := getattr(args, name)) is not None}
    if args.resume is not None:
        _refuse_changes(args, typed)
        setup, folder = read_setup(args.resume), args.resume
        if setup.modality != args.modality:
            raise InputError("--resume", f"{folder}, a run of '{setup.modality}'", f"a run of '{args.modality}'")
        if not (folder / LAST).exists():
            setup = replace(setup, pipeline=None)
        return _train(prepare(setup), setup, folder, args)
    if typed.get("base") == args.modality:
        typed["base"] = ""
    if typed.get("data"):
        typed["data"] = os.path.abspath(typed["data"])
    setup = Setup(modality=args.modality, **typed)
    if setup.ranks > 1 and args.output is None:
        raise InputError("output", "nothing with --parallel", "-o RUN")
    name = "fine-tuned" if setup.base is not None else setup.preset or default_preset(args.modality)
    folder = args.output or words.free_path(f"{args.modality}-{name}", "")
    if not args.dry_run:
        _check_new(folder, args.modality)
    prepared = prepare(setup)
    if args.dry_run:
        return _dry_run(prepared, setup, args)
    if _first_rank():
        folder.mkdir(exist_ok=True)
        write_setup(folder, setup, prepared.training.pipeline)
    try:
        return _train(prepared, setup, folder, args)
    except BaseException:
        if _first_rank() and not (folder / LAST).exists():
            shutil.rmtree(folder, ignore_errors=True)
        raise


def _train(prepared: Prepared, setup: Setup, folder: Path, args: Namespace) -> int:
    from gencore.training.run import fit

    started, quiet, losses = perf_counter(), args.quiet or not _first_rank(), []
    loggers: Any = False
    if setup.tensorboard:
        loggers = _tensorboard(folder)
    for note in prepared.notes:
        if not quiet:
            print(note, file=sys.stderr)
    with progress("steps", quiet=quiet) as report:

        def on_step(step: int, loss: float) -> None:
            losses[:] = [loss]
            report(step, prepared.training.steps, f"loss {loss:.4f}")

        outcome = fit(
            prepared.training, prepared.data, folder, every=setup.every, accumulate=setup.accumulate,
            compile=setup.compile, device=args.device, ranks=setup.ranks, workers=setup.workers, loggers=loggers,
            on_step=on_step,
        )  # fmt: skip
    if not _first_rank():
        return 130 if outcome.interrupted else 0
    return _close(outcome, losses, folder, perf_counter() - started, setup.modality, args.json)


def _close(outcome: Outcome, losses: list[float], folder: Path, seconds: float, modality: str, as_json: bool) -> int:
    loss = losses[-1] if losses else None
    resume = words.spell_command(["gencore", "train", modality, "--resume", str(folder)])
    if as_json:
        data = {"run": str(folder), "model": str(folder / "model"), "steps": outcome.step, "loss": loss,
                "seconds": round(seconds, 1), "resume": resume if outcome.interrupted else None}  # fmt: skip
        print(json.dumps(data))
    if outcome.interrupted:
        print(f"interrupted at step {outcome.step}, saved {folder}; resume: {resume}", file=sys.stderr)
        return 130
    if not as_json:
        told = [str(folder), f"{outcome.step} steps", f"loss {loss:.4f}" if loss is not None else "nothing left to do"]
        print("  ".join([*told, f"{seconds:.1f} s", f"model: {folder / 'model'}"]))
    return 0


def _dry_run(prepared: Prepared, setup: Setup, args: Namespace) -> int:
    from gencore.training.estimate import estimate

    training, data, notes = prepared
    facts: dict[str, Any] = {"unreadable": data.verify(), "data": data.describe(), "classes": list(data.classes)}
    facts |= {"steps": training.steps, "batch": training.batch}
    facts |= estimate(training, data, accumulate=setup.accumulate, ranks=setup.ranks)
    if notes:
        facts["reused"] = notes[0]
    if args.json:
        print(json.dumps(facts))
        return 0
    for name, why in facts.pop("unreadable").items():
        print(f"unreadable      {name}: {why}")
    for name, value in facts.items():
        text = f"{value:,}" if isinstance(value, int) else ", ".join(value) if isinstance(value, list) else str(value)
        print(f"{name.replace('_', ' '):<15} {text or 'none'}")
    return 0


def _check_new(folder: Path, modality: str) -> None:
    """Refuse a folder that holds something, with both ways on."""
    if not _first_rank():
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        resume = words.spell_command(["gencore", "train", modality, "--resume", str(folder)])
        other = words.spell_command(["-o", str(words.free_path(folder.name, "", folder.parent))])
        raise InputError("output", f"{folder} (exists)", "a new folder", f"'{resume}' continues it, '{other}' is free")
    if not folder.parent.is_dir():
        raise InputError("output", folder, "a folder in an existing folder", f"mkdir -p {folder.parent}")
    if not os.access(folder.parent, os.W_OK | os.X_OK):
        raise InputError("output", f"{folder} (folder not writable)", "a folder where you may write")


def _refuse_changes(args: Namespace, typed: dict[str, Any]) -> None:
    if args.dry_run or args.output or typed:
        names = {"base": "from", "ranks": "parallel"}
        stray = next(iter(typed), "output" if args.output else "dry-run")
        given = f"--{names.get(stray, stray)} with --resume"
        hint = "--from starts a new run from weights"
        raise InputError("--resume", given, "nothing else: a run continues unchanged", hint)


def _tensorboard(folder: Path) -> Any:
    if find_spec("tensorboard") is None:
        raise MissingDependency("tensorboard", "--tensorboard", "gencore[train]")
    from lightning.pytorch.loggers import TensorBoardLogger

    return TensorBoardLogger(folder, name="", version="tensorboard")


def _first_rank() -> bool:
    """Lightning starts the other processes with LOCAL_RANK, torchrun all of them with RANK."""
    return int(os.environ.get("RANK") or os.environ.get("LOCAL_RANK") or 0) == 0
