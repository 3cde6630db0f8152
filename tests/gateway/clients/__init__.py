"""People's clients, pinned and as they are, over the real gateway and the real daemon with the demo model.

Each module imports one of them, and only when its first test runs: every process of a test run collects all modules.
"""
