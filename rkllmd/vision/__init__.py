"""RKNN's contexts, matmul contexts and tensor memories: how they are made, run and released.

It may import ``calls`` and what is below; it does not know ``language``.
"""
