"""Whose words the model remembers, and who has lost some."""
