"""The keeper: the parent of the daemon, which holds the listening socket and starts the daemon again when it crashes.

It imports nothing but the standard library, and of that only what loads fast: it lives beside the daemon for ever, and
is there before it.
"""
