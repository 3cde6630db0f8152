"""Tests of ``rkllmd/abi/layouts``."""
