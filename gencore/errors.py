"""What can go wrong, said in one line a user can act on.

Every error that a user can mend is a `GencoreError`; the command line prints its text after ``gencore: error:``
and leaves with `exit_code`.  Anything else is an unforeseen fault and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class GencoreError(Exception):
    """Base of all errors gencore raises on purpose."""

    exit_code = 2


class InputError(GencoreError, ValueError):
    """A value that cannot be used.

    Args:
        field: what the user named (``label``, ``--steps``, ``mask``, ``checkpoint``).
        given: what was received, in the user's own terms.
        accepted: what would have been accepted.
        hint: the next thing to type or to try.

    >>> str(InputError("label", "12", "0..9"))
    'label: got 12; accepted: 0..9'
    """

    def __init__(self, field: str, given: object, accepted: str = "", hint: str = "") -> None:
        self.field, self.given, self.accepted, self.hint = field, given, accepted, hint
        text = f"{field}: got {given}"
        if accepted:
            text += f"; accepted: {accepted}"
        if hint:
            text += f"; {hint}"
        super().__init__(text)


class CheckpointError(InputError):
    """A weights file that is damaged, unsafe, or of another architecture."""


class MissingDependency(GencoreError, ImportError):
    """An optional package is absent; the text names the extra that installs it."""

    def __init__(self, package: str, purpose: str, install: str) -> None:
        super().__init__(f'{package}: not installed, needed for {purpose}; pip install "{install}"')
        self.package, self.install = package, install


class PluginError(GencoreError):
    """A plug-in that is missing, broken, of another API version, or named twice."""


class Negative(GencoreError):
    """The work ran to its end and the answer is no (a check failed, a file does not reproduce)."""

    exit_code = 1


def nearest(word: str, known: Iterable[str]) -> str:
    """A ``did you mean ...`` hint for a misspelt `word`, or the empty string.

    >>> nearest("dpmp", ["ddim", "dpmpp"])
    "did you mean 'dpmpp'?"
    """
    match = get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"did you mean '{match[0]}'?" if match else ""


def unknown(field: str, word: str, known: Iterable[str]) -> InputError:
    """The error for a name that is not among `known`, with the nearest one as a hint."""
    names = sorted(known)
    return InputError(field, repr(word), ", ".join(names) or "nothing is installed", nearest(word, names))
