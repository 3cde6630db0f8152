"""What a run generates, as text: whole characters, stop strings, reasoning and tool calls, partial results.

It may import what ``language`` may, and nothing of ``language``.
"""
