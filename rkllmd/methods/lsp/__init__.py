"""Notifications of the Language Server Protocol that some JSON-RPC clients send, named ``$/…``: one module for each.

It may import what ``methods`` may.
"""
