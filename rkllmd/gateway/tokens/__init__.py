"""The short way of a token: from the daemon's socket to a client's, without JSON in between and without the event loop.

It imports how an answer shows words (``gateway/run.py``), and nothing else of the gateway.
"""
