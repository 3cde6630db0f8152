"""What clients do in one visit; each connects, does something, and leaves in some way."""
