"""Clients whose daemon is replaced."""
