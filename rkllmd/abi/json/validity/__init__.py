"""What JSON is valid, as fast as a yes or no can be said. May import what ``abi/json`` may.

Without the reasons: those are made for the few requests that are refused (``abi/json/schemas.py``).
"""
