"""How values are written in tool calls: as JSON, as Python, as plain text for which there is a schema.

It may import what ``answers`` may, and of that only the events and the source.
"""
