"""Tensors as RKNN sees them: their elements, layouts and attributes, and the memory that they lie in.

It may import the modules directly in ``portable/rknn``.
"""
