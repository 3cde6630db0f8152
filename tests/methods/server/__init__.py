"""Tests of ``rkllmd/methods/server``."""
