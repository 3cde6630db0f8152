"""Behaviour that only the whole daemon shows, on the real daemon and over its socket, by subject."""
