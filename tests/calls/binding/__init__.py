"""Tests of ``rkllmd/calls/binding``."""
