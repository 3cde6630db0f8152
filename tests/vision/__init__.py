"""Tests of ``rkllmd/vision``."""
