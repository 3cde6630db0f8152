"""Tests of ``rkllmd/language/sessions``."""
