"""Verbs this plug-in adds to the command line."""
