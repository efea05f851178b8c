"""What gencore-kernels provides.  Standard library only."""

from __future__ import annotations

from gencore.manifest import Manifest

manifest = Manifest(
    name="kernels",
    summary="fast operators that stand in for the core's plain PyTorch ones",
    provides={"attention": {"flex": "gencore_kernels.flex:flex", "window": "gencore_kernels.window:window"}},
)
