"""Readers of pictures, one storage each."""
