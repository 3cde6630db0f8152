"""Tests of ``rkllmd/language/models``."""
