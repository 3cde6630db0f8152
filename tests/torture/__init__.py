"""Torture: the k-th allocation, send, open … of the daemon fails, for every k; ``make torture``."""
