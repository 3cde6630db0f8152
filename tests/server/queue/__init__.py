"""Whose turn it is: queue, cancelling, time between two tokens; the daemon never freezes."""
