"""The daemon as the gateway reaches it: connections that are kept, and which models there are.

It imports the client and what the gateway's rooms share; ``web/`` and other endpoints import it.
"""
