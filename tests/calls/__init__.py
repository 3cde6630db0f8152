"""Tests of ``rkllmd/calls``."""
