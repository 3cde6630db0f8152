"""The parts of the daemon, put together, and the way of a call through them.

It may import ``language``, ``vision`` and what is below.
"""
