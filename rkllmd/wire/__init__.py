"""Bytes and JSON-RPC 2.0: lines, requests, answers, long strings.

It imports only the errors, and neither does I/O nor imports trio.
"""
