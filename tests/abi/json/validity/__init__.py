"""Tests of ``rkllmd/abi/json/validity``."""
