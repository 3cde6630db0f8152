"""The listening socket: its lock, its permissions, what is left behind, and accepting when descriptors run out."""
