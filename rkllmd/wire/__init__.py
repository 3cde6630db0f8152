"""Bytes and JSON-RPC 2.0: lines, requests and their members, descriptors, answers, long strings.

It imports only the errors, and neither does I/O nor imports trio.
"""
