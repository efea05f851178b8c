"""What gencore-images provides.  Standard library only."""

from __future__ import annotations

from gencore.manifest import Manifest

manifest = Manifest(
    name="images",
    summary="class-conditional images and in-painting",
    extras={"diffusers": "gencore-images[vae]", "webdataset": "gencore-images[data]", "h5py": "gencore-images[data]"},
)
