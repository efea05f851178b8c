"""From a cold process to a finished file, against importing diffusers' DiT pipeline and nothing more."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from pairs import Spread, interleave

_PEER = [sys.executable, "-c", "from diffusers import DiTPipeline"]


def measure(quick: bool) -> dict[str, Any]:
    """Wall clock of ``gencore generate images --label 3``, whole and without the sampling itself, over that import.

    The packaged model is used, or a small random one where none is packaged yet; the row says which.
    """
    if quick:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        words, model = _model(Path(folder))
        output = str(Path(folder) / "three.png")
        command = [sys.executable, "-m", "gencore", "generate", "images", "--label", "3", "-n", "1", "--seed", "0",
                   *words, "-o", output, "--force", "--quiet", "--json"]  # fmt: skip
        sampling: list[float] = []

        def generate() -> None:
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            sampling.append(json.loads(done.stdout)["seconds"])

        compared = interleave(generate, lambda: subprocess.run(_PEER, check=True, capture_output=True), 5)
    start = compared.seconds.median - Spread.of(sampling[1:]).median
    print(f"cold start, {model}: {compared}; {start:.2f} s of it before and after sampling", flush=True)
    return {"generate images": {"model": model, "seconds_without_sampling": start, **compared.row()}}


def _model(folder: Path) -> tuple[list[str], str]:
    from gencore.errors import GencoreError
    from gencore.models import find_model
    from gencore.testing.tiny import tiny_pipeline

    try:
        return [], find_model("images", None)[1]
    except GencoreError:
        return ["--model", str(tiny_pipeline().save_pretrained(folder / "model"))], "tiny random model"
