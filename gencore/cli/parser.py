"""argparse with gencore's errors: one line, the nearest option as a hint, no abbreviations."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import NoReturn

from gencore.errors import GencoreError, InputError, nearest

_OPTION = re.compile(r"--?[A-Za-z]")


class Parser(argparse.ArgumentParser):
    """The parser of one verb.

    Args:
        prog: ``gencore VERB``.
        words: what was typed after the verb; a verb whose options depend on its first word looks here.
    """

    def __init__(self, prog: str, words: Sequence[str] = ()) -> None:
        super().__init__(prog=prog, allow_abbrev=False)
        self.words = list(words)

    def parse_known_args(self, args=None, namespace=None):
        """As argparse on `words`, but a misspelt option is told before its value is taken for something else."""
        words = self.words if args is None else list(args)
        for word in words:
            if word == "--":
                break
            if _OPTION.match(word):
                self._refuse_unknown(word.partition("=")[0])
        return super().parse_known_args(words, namespace)

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would have printed.

        Raises:
            GencoreError: always.
        """
        if match := re.fullmatch(r"argument (\S+): invalid choice: (.*) \(choose from (.*)\)", message):
            field, given, choices = match.groups()
            names = choices.replace("'", "").split(", ")
            raise InputError(field, given, ", ".join(names), nearest(given.strip("'"), names))
        if match := re.fullmatch(r"argument (\S+): invalid (\w+) value: (.*)", message):
            field, kind, given = match.groups()
            raise InputError(field, given, {"int": "a whole number", "float": "a number"}.get(kind, kind))
        raise GencoreError(f"{message.removeprefix('argument ')}; {self.prog} --help")

    def _refuse_unknown(self, option: str) -> None:
        known = self._option_string_actions
        # "-n16" is "-n" with its value attached.
        if option in known or (not option.startswith("--") and option[:2] in known):
            return
        names = [name for name in known if name.startswith("--")]
        hint = nearest(option, names) or f"{self.prog} --help"
        raise GencoreError(f"{option}: not an option of '{self.prog}'; {hint}")
