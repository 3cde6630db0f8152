"""Loading models, and what is set for a model: callbacks, adapters, prompt caches, templates."""
