"""Tests of what clients may take of the gateway."""
