"""Turns of conversations; whole conversations are in tests/server/conversations."""
