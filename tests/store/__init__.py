"""Tests of ``rkllmd/store``."""
