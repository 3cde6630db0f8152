"""What the daemon keeps across restarts."""
