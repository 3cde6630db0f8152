"""The vendor's headers: each struct with its C text, for each version of the runtimes.

It may import ctypes and what lies directly in ``abi``, and nothing else of this project.
"""
