"""Tests of runs that share a batch."""
