"""Turning a user's words into conditions."""
