"""Tests of ``rkllmd/trials``."""
