"""Prompt caches that are kept by name: the files, their owners, and what they fit.

It may import what ``language`` may, and nothing of the other folders in it.
"""
