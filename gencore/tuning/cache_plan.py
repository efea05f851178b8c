"""A cache plan: the cache that an audit found for one model, with what was measured of it, as a small JSON file."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gencore import components
from gencore.context import Interceptor
from gencore.errors import InputError
from gencore.media.files import atomic_write, check_output
from gencore.settings import spell

_MEASURED_WITH = ("sampler", "guidance", "size", "transforms")


@dataclass(frozen=True)
class CachePlan:
    """Attached to a run as ``pipe.generate(interceptors=[plan])`` or ``--cache fast.json``.

    Args:
        interceptor: the cache, ``{"type": name, **settings}``; an irregular schedule is its ``steps``.
        steps: of the run it was measured in.
        share: of the block FLOPs of the uncached run that are still computed.
        fidelity: ``worst`` and ``mean`` of the audited samples, in ``unit``, see `gencore.tuning.fidelity`.
        held_out: the same of as many samples with other seeds, which had no say.
        budget: what was asked of ``worst``.
        recipe: of the uncached run it was compared with: model, sampler, guidance, words and seeds.
    """

    interceptor: dict[str, Any]
    steps: int
    share: float
    fidelity: dict[str, Any]
    held_out: dict[str, Any]
    budget: float
    recipe: dict[str, Any]

    def __str__(self) -> str:
        worst, unit = self.fidelity["worst"], self.fidelity["unit"]
        return f"{spell(self.interceptor)}  {1 / self.share:.2f}x in block FLOPs  {worst:.1f} {unit} at worst"

    def attached(self, recipe: Mapping[str, Any], steps: int) -> Interceptor:
        """The cache, for a run of `steps` steps that `recipe` describes.

        Raises:
            InputError: a run of another model or of other steps, of which the audit says nothing.
        """
        other = f"{spell(self.interceptor)} in its place promises nothing"
        model, own = recipe["model"]["hash"], self.recipe["model"]["hash"]
        if model != own:
            raise InputError("plan", f"one for model {_short(own)}, and model {_short(model)}",
                             "a plan that gencore tune made for this model and dtype", other)  # fmt: skip
        if steps != self.steps:
            raise InputError("plan", f"one for {self.steps} steps, and a run of {steps}", f"{self.steps} steps", other)
        if changed := [name for name in _MEASURED_WITH if recipe[name] != self.recipe[name]]:
            figure = f"{self.fidelity['worst']:.1f} {self.fidelity['unit']}"
            warnings.warn(f"plan: measured with another {', '.join(changed)}; its {figure} may not hold", stacklevel=2)
        return components.build("interceptor", self.interceptor)

    def save(self, path: str | Path, *, force: bool = False) -> Path:
        """Write it as JSON; equal plans give equal bytes.

        Raises:
            InputError: another suffix, or the file exists and `force` is false.
        """
        path = check_plan(path, force=force)
        with atomic_write(path, "w", force) as file:
            file.write(json.dumps({"gencore": 1, "task": "tune", **asdict(self)}, indent=1, allow_nan=False) + "\n")
        return path

    @classmethod
    def load(cls, path: str | Path) -> CachePlan:
        """What `save` wrote.

        Raises:
            InputError: no such file, or another one.
        """
        try:
            facts = json.loads(Path(path).read_text("utf-8"))
            plan = cls(**{name: facts[name] for name in cls.__dataclass_fields__})
            if not isinstance(plan.steps, int) or not 0 < plan.share <= 1:
                raise ValueError("steps or share out of range")
            if missing := {"model", *_MEASURED_WITH} - plan.recipe.keys():
                raise ValueError(f"no {', '.join(sorted(missing))}")
            _short(plan.recipe["model"]["hash"])
            str(plan)
        except OSError as fault:
            raise InputError("plan", f"{path} ({fault.strerror})", "a file gencore tune wrote") from None
        except (KeyError, TypeError, ValueError, AttributeError) as fault:
            raise InputError(
                "plan", f"{path} (damaged or another file: {fault})", "a file gencore tune wrote"
            ) from None
        return plan


def check_plan(path: str | Path, *, force: bool = False) -> Path:
    """`path` after checking, before any work, that a plan may be written there.

    Raises:
        InputError: a suffix other than .json, or as `gencore.media.files.check_output`.
    """
    path = Path(path)
    if path.suffix != ".json":
        raise InputError("output", path, "a .json file")
    return check_output(path, force)


def _short(hashed: str) -> str:
    return hashed.partition(":")[2][:8]
