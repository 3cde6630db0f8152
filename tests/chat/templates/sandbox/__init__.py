"""Tests of ``rkllmd/chat/templates/sandbox``."""
