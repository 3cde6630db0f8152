"""Tests of ``rkllmd/language``."""
