"""Walks from noise to data."""
