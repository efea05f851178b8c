"""What gencore-images provides.  Standard library only."""

from __future__ import annotations

from gencore.manifest import Manifest, Option

_SIZES = ("s", "b", "l", "xl")

manifest = Manifest(
    name="images",
    summary="class-conditional images and in-painting",
    provides={
        "modality": {"images": "gencore_images.modality:Images"},
        "tokenizer": {
            "pixels": "gencore_images.pixels:Pixels",
            "latents": "gencore_images.latents:Latents",
            "sd-vae": "gencore_images.vae:SDVAE",
        },
        "preset": {
            "digits": "gencore_images.presets:digits",
            **{f"{net}-{size}": f"gencore_images.presets:{net}_{size}" for net in ("dit", "sit") for size in _SIZES},
        },
        "importer": {
            "dit": "gencore_images.importers.dit:import_dit",
            "sit": "gencore_images.importers.sit:import_sit",
            "diffusers-dit": "gencore_images.importers.diffusers_dit:import_diffusers_dit",
        },
        "golden": {
            "dit": "gencore_images.golden.dit:adapter",
            "sit": "gencore_images.golden.sit:adapter",
            "taylorseer": "gencore_images.golden.taylorseer:adapter",
        },
    },
    options=(
        Option(name="label", type="str", many=True, help="class number or name; one, or one a sample"),
        Option(name="known", type="path", help="picture whose pixels are kept where the mask is black"),
        Option(name="mask", type="path", help="white = made anew, black = kept; same size as the known picture"),
    ),
    default="gencore_images:default/digits",
    extras={"diffusers": "gencore-images[vae]", "webdataset": "gencore-images[data]", "h5py": "gencore-images[data]"},
)
