"""Partial results, clients that read slowly, and clients that have sent all they will send."""
