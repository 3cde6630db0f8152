"""Tests of HTTP itself, where time and failure matter: over the real process, or without a server and a real daemon."""
