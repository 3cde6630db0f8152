"""How much memory there is, and whether a load fits into it.

It may import what ``machine`` may, and ``machine/platform.py``.
"""
