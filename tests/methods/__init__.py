"""Tests of ``rkllmd/methods``: what needs no socket; the methods themselves are in ``tests/server``."""
