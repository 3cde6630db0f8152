"""Let the model call a function of this program and use its result.

python examples/tools.py [QUESTION]
"""

from __future__ import annotations

import json
import sys
from typing import Any

from rkllmd.client import CallError, Client, why_no_connection

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather in a city.",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
]


def get_weather(city: str) -> dict[str, str | int]:
    """Stand in for a real weather service."""
    return {"city": city, "temperature": 21, "sky": "sunny"}


FUNCTIONS = {"get_weather": get_weather}
MOST_ROUNDS = 5


def result_of(call: dict[str, Any]) -> str:
    """Call the function that the model wants, and return what it is told of the result."""
    name, arguments = call["function"]["name"], call["function"]["arguments"]
    print(f"  the model calls {name}({arguments})")
    try:
        return json.dumps(FUNCTIONS[name](**arguments))
    except (KeyError, TypeError) as error:  # name and arguments are the model's words
        return json.dumps({"error": str(error)})


def answer(rkllm: Client, question: str) -> str:
    """Return the model's answer; as long as it calls functions, give it their results."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": question}]
    for _ in range(MOST_ROUNDS):
        said = rkllm.call("rkllm.run", {"messages": messages, "tools": TOOLS})
        calls = said.get("tool_calls", [])
        if not calls:
            break
        messages.append({"role": "assistant", "content": said["text"], "tool_calls": calls})
        messages += [{"role": "tool", "tool_call_id": call["id"], "content": result_of(call)} for call in calls]
    return str(said["text"])


def main() -> int:
    """Ask one question; return the exit status."""
    question = " ".join(sys.argv[1:]) or "What is the weather in Berlin?"
    print(f"> {question}")
    try:
        with Client() as rkllm:
            print(f"  {answer(rkllm, question)}")
    except OSError as error:
        print(why_no_connection(error), file=sys.stderr)
        return 1
    except CallError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
