"""Checks that third parties run on their own parts."""
