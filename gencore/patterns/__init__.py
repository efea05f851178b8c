"""Attention patterns as data: which keys each query sees.

A pattern is a predicate over positions and its dense mask is the truth.  `regroup` and `slices` offer the same
attention as smaller full ones, to back ends that care.  Query i of Nq stands at key position Nk - Nq + i, so that with
a cache of earlier keys the queries are the last positions.  ``a & b`` allows what both allow.
"""

from gencore.patterns.base import Full, Groups, Intersection, Pattern, Slices, intersection
from gencore.patterns.frames import BlockCausal, TeacherForcing
from gencore.patterns.grid import Along, Tiles, Window
from gencore.patterns.sequence import Causal, KeyMask, Segments

__all__ = [
    "Along", "BlockCausal", "Causal", "Full", "Groups", "Intersection", "KeyMask", "Pattern", "Segments", "Slices",
    "TeacherForcing", "Tiles", "Window", "intersection",
]  # fmt: skip
