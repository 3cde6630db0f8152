"""How likely the tokens of an answer were, in people's protocols, without I/O.

It may import what is below the protocols: ``fields.py``.
"""
