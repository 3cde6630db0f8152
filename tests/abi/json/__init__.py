"""Tests of ``rkllmd/abi/json``."""
