"""Tests of ``rkllmd/chat/answers/syntax``."""
