"""Files that were never loaded before are first loaded by another process, which may die of them.

It may import ``npu``, ``machine`` and what is below.
"""
