"""Runs that share a batch with those of other clients: which of them may.

It may import what ``runs`` may, and of ``runs`` what a run is.
"""
