"""Tests of Ollama's protocol."""
