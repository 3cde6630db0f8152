"""Bounds and time limits: what they say, and that the others go on."""
