"""The one-megabyte demo model: its text, its training and its evaluation."""
