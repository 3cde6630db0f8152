"""What clients may take of this process, each and all together: memory, connections, time.

The server below (Hypercorn) bounds none of them, or each connection alone. This imports it, ``tokens`` and
``failures``, and no endpoint.
"""
