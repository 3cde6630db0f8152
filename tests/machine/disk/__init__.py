"""Tests of ``rkllmd/machine/disk``."""
