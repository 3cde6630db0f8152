"""Tests of ``rkllmd/language/guided``."""
