"""Matrix multiplication by numpy: its contexts, types, layouts in memory and quantisation.

It may import ``models``, ``tensors`` and the modules directly in ``portable/rknn``.
"""
