"""Tests of ``rkllmd/config``."""
