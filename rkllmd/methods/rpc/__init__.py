"""Methods that JSON-RPC 2.0 reserves for extensions: one module for each, found by its name.

It may import what ``methods`` may.
"""
