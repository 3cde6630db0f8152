"""Texts as vectors: what a client of any protocol asks for, and how a model's hidden states become one vector.

Without I/O. It may import what is below the protocols: ``fields.py`` and ``failures.py``.
"""
