"""Runs of several clients in one batch of a model: the company of runs, each with a lane of its own.

It may import what ``language`` may, and of ``language`` what a single run is made of.
"""
