"""Tests of ``rkllmd/chat/answers``."""
