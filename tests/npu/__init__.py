"""Tests of ``rkllmd/npu``."""
