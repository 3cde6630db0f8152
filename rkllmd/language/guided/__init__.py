"""Answers in a given form (``format``): which schemas can be kept, which text is legal, and how a run is kept to it.

It may import what ``language`` may.
"""
