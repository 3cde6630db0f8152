"""What the demo model was trained to call a function for."""

from __future__ import annotations

from typing import Any, Final

QUESTION: Final = "What is the weather in Oslo?"
NAME: Final = "get_weather"
ARGUMENTS: Final = {"city": "Oslo"}
# What the function returns, of which something is in the answer.
RESULT: Final = '{"temperature": 21}'
SCHEMA: Final[dict[str, Any]] = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
DESCRIPTION: Final = "Get the weather of a city."
TOOL: Final[dict[str, Any]] = {
    "type": "function",
    "function": {"name": NAME, "description": DESCRIPTION, "parameters": SCHEMA},
}
