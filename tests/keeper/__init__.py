"""Tests of ``rkllmd/keeper``."""
