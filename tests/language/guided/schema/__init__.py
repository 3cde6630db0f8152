"""Tests of ``rkllmd/language/guided/schema``."""
