"""The C functions of the portable RKNN runtime."""
