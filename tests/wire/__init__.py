"""Tests of ``rkllmd/wire``."""
