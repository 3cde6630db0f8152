"""Tests of OpenAI's protocol."""
