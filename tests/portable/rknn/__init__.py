"""Tests of the portable RKNN runtime, through its C function pointers."""
