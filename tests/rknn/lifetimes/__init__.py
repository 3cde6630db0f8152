"""Who owns what, how long it lives, and that nothing remains of a client that left (protocol, section 3)."""
