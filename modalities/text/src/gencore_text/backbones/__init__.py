"""Networks over token ids: the masked denoiser, the causal language model, the energy."""
