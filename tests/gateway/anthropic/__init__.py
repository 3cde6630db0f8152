"""Tests of Anthropic's protocol."""
