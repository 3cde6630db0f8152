"""Measurements of language models: prompts, conversations, batches, formats."""
