"""The socket that clients connect to: who may have its path, who serves it, and whose connection is next.

It knows nothing of what comes over a connection, and may import ``client``, ``machine``, ``wire`` and what all may use.
"""
