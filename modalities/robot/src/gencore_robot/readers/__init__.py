"""Readers of robot datasets."""
