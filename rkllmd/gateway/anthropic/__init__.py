"""Anthropic's protocol, without I/O. It may import all of the gateway but ``web``."""
