"""Mask kinds of any modality."""
