"""The daemon's own methods, one module for each: ``server.*``, ``rpc.*``, ``$/…``.

It may import everything below it; it is found by discovery, and nothing imports it.
"""
