"""The command line: serve, stop, call, chat, gateway, help.

It may import everything; only ``__main__`` imports it.
"""
