"""What gencore-images provides.  Standard library only."""

from __future__ import annotations

from gencore.manifest import Manifest, Option

manifest = Manifest(
    name="images",
    summary="class-conditional images and in-painting",
    provides={
        "modality": {"images": "gencore_images.modality:Images"},
        "tokenizer": {"pixels": "gencore_images.pixels:Pixels"},
        "preset": {"digits": "gencore_images.presets:digits"},
    },
    options=(
        Option(name="label", type="str", many=True, help="class number or name; one, or one a sample"),
        Option(name="known", type="path", help="picture whose pixels are kept where the mask is black"),
        Option(name="mask", type="path", help="white = made anew, black = kept; same size as the known picture"),
    ),
    default="gencore_images:default/digits",
    extras={"diffusers": "gencore-images[vae]", "webdataset": "gencore-images[data]", "h5py": "gencore-images[data]"},
)
