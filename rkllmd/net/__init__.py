"""The socket and its clients: listening, receiving, sending, hanging up.

It may import ``service`` and what is below; the daemon alone imports it.
"""
