"""Prompt caches that are kept by name: where they are, whose they are, what they fit.

It may import what ``language`` may.
"""
