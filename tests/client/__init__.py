"""Tests of ``rkllmd/client``."""
