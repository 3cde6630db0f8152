"""Tests of ``rkllmd/language/runs/rendering``."""
