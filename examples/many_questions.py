"""Several tasks of one trio program share the model; one of them loses its patience.

python examples/many_questions.py
"""

from __future__ import annotations

import sys
from contextlib import aclosing

import trio

from rkllmd.client import TrioClient, open_client, why_no_connection

QUESTIONS = ["What is a token?", "What is JSON?", "Why is the sky blue?"]


async def ask(rkllm: TrioClient, question: str) -> None:
    """Print the question with its whole answer."""
    result = await rkllm.call("rkllm.run", {"prompt": question, "sampling_params": {"top_k": 1}})
    print(f"> {question}\n  {result['text']}")


async def ask_impatiently(rkllm: TrioClient, question: str, words: int) -> None:
    """Print the first words of an answer; leaving the loop early cancels the run in the daemon."""
    heard = []
    async with aclosing(rkllm.stream("rkllm.run_async", {"prompt": question})) as results:
        async for partial in results:
            heard.append(partial["text"])
            if len(heard) == words:
                break
    print(f"> {question}\n  {''.join(heard)} ... enough!")


async def main() -> int:
    """Ask all questions at once; the daemon's queue puts them in order."""
    try:
        async with open_client() as rkllm, trio.open_nursery() as nursery:
            nursery.start_soon(ask_impatiently, rkllm, "Tell me a story.", 8)
            for question in QUESTIONS:
                nursery.start_soon(ask, rkllm, question)
    except OSError as error:
        print(why_no_connection(error), file=sys.stderr)
        return 1
    except ExceptionGroup as group:  # the errors of the tasks, such as a CallError when no model is loaded
        print(*group.exceptions, sep="\n", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(trio.run(main))
