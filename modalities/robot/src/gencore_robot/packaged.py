"""The packaged policies, and which one fits an environment."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from gencore.errors import InputError
from gencore.models import CONFIG, read_config
from gencore_robot.robots import said


def fitting(env_id: str, folder: Path | None = None) -> Path:
    """The folder of the packaged policy whose card names the environment under ``environments``.

    Args:
        env_id: with or without its module.
        folder: of the policies; None for this package's.

    Raises:
        InputError: none fits; the text says for what there are some.
    """
    root = Path(str(files("gencore_robot"))) / "default" if folder is None else folder
    plain, known = env_id.rpartition(":")[2], []
    for config in sorted(root.glob(f"*/{CONFIG}")):
        fits = said(read_config(config.parent)["card"], "environments") or []
        if plain in fits:
            return config.parent
        known += fits
    raise InputError("--model", f"nothing for {plain}", "a folder or hub id",
                     f"packaged policies fit {', '.join(known) or 'no environment'}")  # fmt: skip
