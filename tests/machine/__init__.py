"""Tests of ``rkllmd/machine``."""
