"""Files that were never loaded before are loaded by a process of their own first, which may die of it.

It may import ``npu``, ``machine`` and what is below.
"""
