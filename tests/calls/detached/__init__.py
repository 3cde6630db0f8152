"""Tests of ``rkllmd/calls/detached``."""
