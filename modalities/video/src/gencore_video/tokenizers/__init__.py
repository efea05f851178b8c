"""Between clips and latents."""
