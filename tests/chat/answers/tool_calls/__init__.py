"""Tests of ``rkllmd/chat/answers/tool_calls``."""
