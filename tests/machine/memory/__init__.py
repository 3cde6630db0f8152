"""Tests of ``rkllmd/machine/memory``."""
