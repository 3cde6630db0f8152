"""Named conversations: what was said, and how that is written as one prompt for a model that does not know it.

It may import what ``language`` may, and nothing of the other folders in it.
"""
