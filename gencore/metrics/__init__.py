"""Measures that know no modality: they work on features."""
