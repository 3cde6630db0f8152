"""Calls of several clients that share one call of C: which of them, and whom to wait for a moment.

It may import what ``npu`` may, and of ``npu`` the jobs.
"""
