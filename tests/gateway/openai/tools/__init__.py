"""Tests of OpenAI's kinds of tools."""
