"""Calls that are detached from their connection, and watching what becomes of calls."""
