"""The RKLLM functions: one module for each, found by its name.

It may import ``language``, ``service`` and what is below; it is found by discovery, and nothing imports it.
"""
