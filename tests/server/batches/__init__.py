"""Runs of several clients in one batch of a model."""
