"""The daemon's own methods: one module for each, found by its name.

It may import what ``methods`` may.
"""
