"""Tests of how likely tokens were."""
