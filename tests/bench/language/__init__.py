"""Measurements of language models on the portable runtime."""
