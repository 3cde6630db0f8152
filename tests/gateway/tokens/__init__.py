"""The short way of a token."""
