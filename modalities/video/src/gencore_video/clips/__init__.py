"""Clips as training reads them."""
