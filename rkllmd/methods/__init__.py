"""The daemon's own methods, one module for each: ``server.*``, ``rpc.*``, ``$/…``.

It may import everything below it; nothing imports it but by discovery.
"""
