"""What a model means by the text that it generates: stop strings, reasoning, tool calls.

Read piece by piece, as tokens come. It may import json_types and nothing else of the house.
"""
