"""How the daemon gets onto a machine, and off it again."""
