"""The C side: struct mirrors, the library, and JSON to C and back. Nothing outside this package knows ctypes' rules.

Nothing in here imports trio: every module works from any thread and without an event loop.
"""
