"""The command line: serve, stop, call, chat, help.

It may import everything; nothing imports it.
"""
