"""Editing by inversion: walk data back with the words it shows, and sample again with others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gencore.errors import InputError
from gencore.generated import Generated, Progress
from gencore.interceptors.rf_edit import RFEdit
from gencore.request import file_name

if TYPE_CHECKING:
    from gencore.guidance import Guidance
    from gencore.pipeline import Pipeline
    from gencore.sampler import Sampler


def edit(
    pipe: Pipeline,
    source: Any,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    *,
    steps: int | None = None,
    sampler: str | Sampler = "rf-solver",
    guidance: float | str | Guidance | None = None,
    inject: int = 2,
    blocks: float = 0.5,
    strength: float = 1.0,
    callback: Callable[[Progress], None] | None = None,
) -> Generated:
    """`source`, changed from what the words `before` say to what `after` say.

    Args:
        source: what the modality calls known data.
        before, after: words; `after` may give known cells, say a frame that was changed by hand.  Where `before` has
            words of the modality that give cells, they are cells of `source`.
        steps, guidance: of the edit; the inversion is unguided.
        sampler: one that inverts.
        inject: first steps that take their attention values from the inversion (`gencore.interceptors.rf_edit`);
            more keeps more of the source, 0 shares none.
        blocks: share of the blocks that do, from the last one back.
        strength: share of the steps walked back; less keeps more of the source.

    Raises:
        InputError: a value out of range, or a word the pipeline does not know.
    """
    shared = RFEdit(inject, blocks)
    options: dict[str, Any] = {"sampler": sampler}
    own: dict[str, Any] = {"known": source} if set(before) & set(pipe.modality.words) else {}
    start = pipe.invert(source, strength=strength, steps=steps, guidance=1.0, interceptors=[shared.recording],
                        **options, **own, **before)  # fmt: skip
    if inject > len(start.times) - 1:
        raise InputError("inject", inject, f"at most the {len(start.times) - 1} steps of the run")
    out = pipe.generate(start=start, guidance=guidance, interceptors=[shared.replaying], seed=0, callback=callback,
                        **{"n": start.count, **options, **after})  # fmt: skip
    said = {"source": file_name(source), "hash": start.recipe["source"], "before": start.recipe["words"],
            "inject": inject, "blocks": blocks, "strength": strength}  # fmt: skip
    recipe = {**out.recipe, "steps": start.recipe["steps"], "start": None, "interceptors": [], "edit": said}
    return replace(out, recipe=recipe)
