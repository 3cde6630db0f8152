"""JSON Schemas: what of them can be kept, and what the judge is told of them.

It may import what ``language`` may, and nothing of the rest of it.
"""
