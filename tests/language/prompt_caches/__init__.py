"""Tests of ``rkllmd/language/prompt_caches``."""
