"""Calls that no connection waits for (server.submit): each of them, and all of them, as long as they are kept.

It may import what calls/ may.
"""
