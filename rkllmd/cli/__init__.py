"""The command line: serve, stop, call, chat, gateway, mcp, help.

It may import everything; only ``__main__`` imports it.
"""
