"""Weights: files, layouts, formats."""
