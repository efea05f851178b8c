"""Prediction transforms: what may stand between a network and a sampler."""
