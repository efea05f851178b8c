"""What a plug-in declares about itself.  Standard library only: listing plug-ins must never import torch.

A distribution publishes one entry point in group ``gencore.plugins`` that names a `Manifest`:

    [project.entry-points."gencore.plugins"]
    images = "gencore_images.manifest:manifest"

`provides` maps a kind to named implementations, each a ``"module:Attribute"`` string that is imported when asked
for by name and not before.  A command is ``"module"``: it has ``add_arguments(parser)`` and ``run(args) -> int``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

API_VERSION = (1, 0)
"""(major, minor) of the plug-in contract.  A plug-in works when its major is equal and its minor is not newer."""

KINDS = (
    "modality", "backbone", "process", "tokenizer", "conditioner", "sampler", "guidance", "interceptor", "objective",
    "adapter", "attention", "mask", "metric", "importer", "preset", "golden", "command",
)  # fmt: skip
"""The kinds a manifest may provide."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """A word of one modality's ``generate``: ``--label 3`` on the command line, ``label=3`` in Python.

    Args:
        type: ``int``, ``float``, ``str`` or ``path``.
        many: a list is accepted (one entry a sample).
        range: inclusive bounds or the choices, for help texts; the conditioner validates.
    """

    name: str
    type: str
    help: str
    default: str | int | float | None = None
    many: bool = False
    range: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A plug-in's declaration.

    Args:
        name: the plug-in's name; for a modality also the word after ``gencore generate``.
        summary: one line for ``gencore list``.
        api: the `API_VERSION` it was written for.
        provides: ``{kind: {name: "module:Attribute"}}`` with kinds from `KINDS`.
        options: the modality's own words.
        default: the packaged default model as ``"package:folder"``, or empty.
        extras: ``{package: "pip requirement"}`` for optional dependencies, used in error messages.
        expected_failures: ``{check of the conformance suite: why it cannot hold}``.
    """

    name: str
    summary: str
    api: tuple[int, int] = API_VERSION
    provides: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    options: tuple[Option, ...] = ()
    default: str = ""
    extras: Mapping[str, str] = field(default_factory=dict)
    expected_failures: Mapping[str, str] = field(default_factory=dict)
