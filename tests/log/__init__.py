"""Tests of ``rkllmd/log``."""
