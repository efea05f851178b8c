"""Frame rates as exact fractions: 30000/1001 is not 29.97."""

from __future__ import annotations

from fractions import Fraction

from gencore.errors import InputError

MOST = 1000


def read_rate(rate: str | float | Fraction, field: str = "fps") -> Fraction:
    """Frames a second as a fraction; a decimal text or float is taken as written (29.97 is 2997/100).

    Raises:
        InputError: no number, 0 or less, or more than 1000.

    >>> read_rate("30000/1001"), read_rate(12.5)
    (Fraction(30000, 1001), Fraction(25, 2))
    """
    try:
        exact = Fraction(str(rate).strip())
    except (ValueError, ZeroDivisionError):
        exact = Fraction(0)
    if not 0 < exact <= MOST:
        raise InputError(field, rate, f"frames a second, more than 0 and at most {MOST}: 10, 12.5, 30000/1001")
    return exact


def spell_rate(rate: str | float | Fraction) -> str:
    """The shortest exact text of a rate.

    >>> spell_rate(Fraction(10)), spell_rate("25.0")
    ('10', '25')
    """
    return str(read_rate(rate))
