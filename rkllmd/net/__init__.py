"""The socket and its clients: listening, receiving, sending, hanging up.

It may import ``service`` and what is below; only the daemon and the command line import it.
"""
