"""Tests of ``rkllmd/portable/rknn/matmul``."""
