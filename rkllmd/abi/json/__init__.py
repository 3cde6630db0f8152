"""How JSON becomes C and C becomes JSON: schemas, conversion, tensors.

It may import ``abi/layouts``, ``wire`` and the errors; nothing here does I/O.
"""
