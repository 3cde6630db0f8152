"""The RKLLM functions: one module for each, found by its name.

It may import ``language``, ``service`` and what is below; nothing imports it but by discovery.
"""
