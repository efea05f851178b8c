"""Text for gencore: masked diffusion language models, energy correction, in-filling."""
