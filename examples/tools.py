"""Let the model call a function of this program and use its result.

python examples/tools.py [QUESTION]
"""

from __future__ import annotations

import json
import re
import sys

from rkllmd.client import CallError, Client, why_no_connection

TOOLS = [
    {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    }
]


def get_weather(city: str) -> dict[str, str | int]:
    """Stand in for a real weather service."""
    return {"city": city, "temperature": 21, "sky": "sunny"}


def answer(rkllm: Client, question: str) -> str:
    """Return the model's answer; if it calls the tool first, give it the result."""
    rkllm.call("rkllm.clear_kv_cache", {"keep_system_prompt": 0})
    rkllm.call("rkllm.set_function_tools", {"tools": TOOLS, "tool_response_str": "tool_response"})
    run = {"keep_history": 1, "sampling_params": {"top_k": 1}}
    said = rkllm.call("rkllm.run", {"role": "user", "prompt": question, **run})["text"]
    call = re.search(r"<tool_call>(.*?)</tool_call>", said, re.DOTALL)
    if call is None:
        return str(said)
    wanted = json.loads(call[1])
    print(f"  the model calls {wanted['name']}({wanted['arguments']})")
    result = json.dumps(get_weather(**wanted["arguments"]))
    return str(rkllm.call("rkllm.run", {"role": "tool", "prompt": result, **run})["text"])


def main() -> int:
    """Ask one question; return the exit status."""
    question = " ".join(sys.argv[1:]) or "What is the weather in Berlin?"
    print(f"> {question}")
    try:
        with Client() as rkllm:
            try:
                print(f"  {answer(rkllm, question)}")
            finally:
                rkllm.call("rkllm.set_function_tools", {"tools": "", "tool_response_str": ""})
    except OSError as error:
        print(why_no_connection(error), file=sys.stderr)
        return 1
    except CallError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
