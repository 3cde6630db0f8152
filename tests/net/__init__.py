"""Tests of ``rkllmd/net``."""
