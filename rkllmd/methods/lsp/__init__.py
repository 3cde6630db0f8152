"""Notifications of the Language Server Protocol that JSON-RPC clients know, named ``$/…``: one module for each.

It may import what ``methods`` may.
"""
