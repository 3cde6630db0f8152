"""Tests of the prompt caches of loaded models."""
