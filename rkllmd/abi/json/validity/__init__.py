"""What JSON is valid: as fast as a yes or no can be said, and why not. May import what ``abi/json`` may.

The reasons are made for the few requests that are refused; nobody imports them before there is one.
"""
