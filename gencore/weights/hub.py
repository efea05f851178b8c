"""Models by hub id ``owner/name``: downloaded once, then used without asking the server."""

from __future__ import annotations

from pathlib import Path

from gencore.errors import InputError, MissingDependency

PATTERNS = ("config.json", "*/config.json", "model_index.json", "*.safetensors", "*.safetensors.index.json")
"""The files that are fetched: configurations and safetensors, never pickles or code."""


def download(model: str) -> Path:
    """The local folder of hub model `model`.

    Raises:
        InputError: no such model, or it is not cached and cannot be fetched.
        MissingDependency: huggingface_hub is absent.
    """
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    except ImportError as fault:
        raise MissingDependency("huggingface_hub", f"the hub id '{model}'", "gencore[hub]") from fault
    try:
        return Path(snapshot_download(model, allow_patterns=list(PATTERNS), local_files_only=True))
    except LocalEntryNotFoundError:
        pass
    except HFValidationError as fault:
        raise InputError("model", model, "a folder, or a hub id owner/name", str(fault).splitlines()[0]) from None
    try:
        return Path(snapshot_download(model, allow_patterns=list(PATTERNS)))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as fault:
        cause = (str(fault).strip().splitlines() or [type(fault).__name__])[0]
        raise InputError("model", f"{model} ({cause})", "a folder, or a hub id that can be reached") from fault
