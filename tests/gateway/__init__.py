"""The gateway: its translations without I/O, and people's clients over the real process."""
