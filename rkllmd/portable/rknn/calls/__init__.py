"""The C functions of librknnrt in Python, a module for what they work on, and the closures that C calls them by.

It may import all of ``portable/rknn``.
"""
