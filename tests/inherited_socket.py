"""A program that hands a listening socket to the daemon as the service manager does (sd_listen_fds)."""

from __future__ import annotations

# Puts the passed descriptor where sd_listen_fds(3) wants it, and names this process, which becomes the daemon.
SHIM = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ["LISTEN_PID"] = str(os.getpid())
os.environ["LISTEN_FDS"] = "1"
os.execv(sys.argv[2], sys.argv[2:])
"""
