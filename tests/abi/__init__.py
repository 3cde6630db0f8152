"""Tests of ``rkllmd/abi``."""
