"""Readers of text, one storage each."""
