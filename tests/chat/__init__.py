"""Tests of ``rkllmd/chat``."""
