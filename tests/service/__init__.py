"""Tests of ``rkllmd/service``."""
