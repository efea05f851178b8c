"""Golden adapters: what this package computes for numbers recorded from published implementations."""
