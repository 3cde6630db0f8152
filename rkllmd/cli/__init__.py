"""The command line: serve, stop, call, chat, help.

It may import everything; only ``__main__`` imports it.
"""
