"""Tests of ``rkllmd/portable/rknn/models``."""
