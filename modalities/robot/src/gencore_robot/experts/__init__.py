"""Scripted experts: demonstrations without a download."""
