"""Tests of what the gateway has of the daemon, over a socket on which a script answers."""
