"""Tests of the calls that share one call of C."""
