"""Tests of which runs share a batch."""
