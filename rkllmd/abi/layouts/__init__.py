"""The vendor's headers: each struct with its C text, for each version of the runtimes.

It imports nothing but ctypes and its own modules.
"""
