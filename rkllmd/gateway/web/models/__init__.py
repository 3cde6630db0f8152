"""Endpoints that are about models rather than conversations: loads and unloads, and texts as vectors.

It imports what ``web`` has for all endpoints; ``web/routes.py`` imports it.
"""
