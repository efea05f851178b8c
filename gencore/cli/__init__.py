"""The command line: ``gencore VERB [words] [--options]``.

A verb is a module with ``add_arguments(parser)`` and ``run(args) -> int``, imported when it is typed and not before.
Plug-ins add verbs through ``provides["command"]``.

Exit codes: 0 done; 1 it ran and the answer is no; 2 something the user can mend, told in one line on stderr; 70 an
unforeseen fault, with its traceback; 130 cancelled.  ``GENCORE_DEBUG=1`` adds the traceback to the one-line errors.
"""

from __future__ import annotations

import errno
import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from importlib import import_module
from typing import Protocol, cast

from gencore.cli.parser import Parser
from gencore.errors import GencoreError, unknown
from gencore.first_party import VERBS as PUBLISHED_VERBS
from gencore.plugins import discover, plugin_names, provided, resolve

VERBS = {
    "list": ("gencore.cli.list_", "installed plug-ins and what they provide"),
    "info": ("gencore.cli.info", "the card of a modality or model, or the recipe of a file"),
    "generate": ("gencore.cli.generate", "make samples"),
    "invert": ("gencore.cli.invert", "walk given data back to the noise a sampler would make it from"),
    "edit": ("gencore.cli.edit", "change what a file shows by inverting it and sampling with other words"),
    "tune": ("gencore.cli.tune", "the fastest cache whose samples stay within an error budget"),
    "reproduce": ("gencore.cli.reproduce", "make a file again from its recipe and compare"),
    "train": ("gencore.cli.train", "train, fine-tune or resume"),
    "evaluate": ("gencore.cli.evaluate", "measure a model against held-out data"),
    "convert": ("gencore.cli.convert", "turn a checkpoint of another implementation into a model folder"),
    "new": ("gencore.cli.new", "write a package for a modality of your own"),
    "check": ("gencore.cli.check", "hold a modality against the conformance suite"),
    "doctor": ("gencore.cli.doctor", "import everything that is installed and report"),
}
"""The core's own verbs: ``{verb: (module, help)}``."""

_MENDABLE = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EPERM}


class Verb(Protocol):
    """What a verb's module offers."""

    def add_arguments(self, parser: Parser) -> None: ...

    def run(self, args: Namespace) -> int: ...


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code.

    Args:
        argv: the words after ``gencore``; None takes those of this process.
    """
    try:
        code = _dispatch(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
        return code
    except GencoreError as error:
        if os.environ.get("GENCORE_DEBUG") == "1":
            _print_traceback()
        return _complain(str(error), error.exit_code)
    except KeyboardInterrupt:
        print("gencore: cancelled", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader left early (`gencore list | head -1`); the interpreter must not flush into the closed pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno in _MENDABLE:
            return _complain(f"{error.filename or 'disk'}: {error.strerror}", 2)
        _print_traceback()
        return 70
    except Exception:
        _print_traceback()
        return 70


def _dispatch(words: list[str]) -> int:
    if not words:
        print(_help(), file=sys.stderr)
        return 2
    first, rest = words[0], words[1:]
    if first in ("-h", "--help"):
        print(_help())
        return 0
    if first == "--version":
        from gencore import __version__

        print(f"gencore {__version__}")
        return 0
    verb = _verb(first)
    parser = Parser(prog=f"gencore {first}", words=rest)
    verb.add_arguments(parser)
    return verb.run(parser.parse_args())


def _verb(name: str) -> Verb:
    if name in VERBS:
        return cast(Verb, import_module(VERBS[name][0]))
    added = provided("command")
    if name in added:
        return resolve("command", name)
    if package := PUBLISHED_VERBS.get(name):
        broken = [plugin.cause for plugin in discover() if plugin.status == "broken" and plugin.distribution == package]
        raise GencoreError(f"no verb '{name}' installed; {broken[0] if broken else f'pip install {package}'}")
    raise unknown("verb", name, [*VERBS, *added])


def _help() -> str:
    rows = [(verb, text) for verb, (_, text) in VERBS.items()]
    for plugin in discover():
        rows += [(verb, f"added by {plugin.distribution}") for verb in plugin_names(plugin, "command")]
    width = max(len(verb) for verb, _ in rows)
    return "\n".join(
        [
            "usage: gencore VERB [words] [--options]",
            "",
            *(f"  {verb:<{width}}  {text}" for verb, text in rows),
            "",
            "gencore VERB --help lists the options of one verb; gencore --version prints the version.",
        ]
    )


def _complain(text: str, code: int) -> int:
    print(f"gencore: error: {' '.join(text.splitlines())}", file=sys.stderr)
    return code


def _print_traceback() -> None:
    import traceback

    traceback.print_exc()
