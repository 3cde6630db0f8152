"""Tools and resources for MCP hosts, by the official SDK: over stdio, or as streamable HTTP.

It stands beside ``web`` and may import what that offers for serving HTTP.
"""
