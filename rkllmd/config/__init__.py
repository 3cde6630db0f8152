"""Every setting with its default, its limits and its reason, and where it may come from.

It may import ``abi`` for names and schemas; nothing here imports trio.
"""
