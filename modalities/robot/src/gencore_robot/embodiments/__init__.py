"""Robots as data: which of a robot's numbers go to which slot."""
