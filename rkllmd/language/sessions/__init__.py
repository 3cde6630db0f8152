"""Named conversations: what was said, and how it is told to a model that does not know it.

It may import what ``language`` may.
"""
