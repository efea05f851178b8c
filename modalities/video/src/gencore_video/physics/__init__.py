"""Simulated clips: coloured discs that move and collide in a box."""
