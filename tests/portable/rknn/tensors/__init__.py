"""Tensors of the portable RKNN runtime."""
