"""Tests of ``rkllmd/cli``."""
