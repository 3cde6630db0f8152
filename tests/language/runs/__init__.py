"""Tests of ``rkllmd/language/runs``."""
