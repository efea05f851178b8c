"""gencore: a generative model as six parts that do not know each other's modality.

Importing this package costs no more than the standard library; torch is imported with the first name that needs it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from gencore.errors import GencoreError, InputError
    from gencore.known import Known
    from gencore.loading import load
    from gencore.manifest import API_VERSION, Manifest, Option
    from gencore.pipeline import Pipeline
    from gencore.sampler import Sampler
    from gencore.spec import LatentSpec
    from gencore.tuning.tune import tune

_HOME = {
    "API_VERSION": "gencore.manifest",
    "GencoreError": "gencore.errors",
    "InputError": "gencore.errors",
    "Known": "gencore.known",
    "LatentSpec": "gencore.spec",
    "Manifest": "gencore.manifest",
    "Option": "gencore.manifest",
    "Pipeline": "gencore.pipeline",
    "Sampler": "gencore.sampler",
    "load": "gencore.loading",
    "tune": "gencore.tuning.tune",
}

__all__ = [
    "API_VERSION",
    "GencoreError",
    "InputError",
    "Known",
    "LatentSpec",
    "Manifest",
    "Option",
    "Pipeline",
    "Sampler",
    "__version__",
    "load",
    "tune",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'gencore' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOME[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
