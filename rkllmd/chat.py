"""``rkllmd chat``: a conversation on the terminal. Ctrl-C ends the answer, Ctrl-D ends the program."""

from __future__ import annotations

import sys
from typing import Any

from rkllmd.client import CallError, Client

_HELP = "Ctrl-C stops an answer, /new forgets the conversation, Ctrl-D leaves."


def chat(connection: Client, *, thinking: bool) -> int:
    """Talk with the loaded model until the end of input; return the exit status. Raises CallError at the start."""
    models = connection.call("server.status")["models"]
    name = models[0]["model_path"].rsplit("/", 1)[-1] if models else "no model: load one with rkllm.init"
    on_terminal = sys.stdin.isatty()
    print(f"Talking with {name}. {_HELP}" if on_terminal else f"Talking with {name}.")
    if on_terminal:
        import readline  # noqa: F401 - gives input() its line editing and history
    while (line := _read("> " if on_terminal else "")) is not None:
        if line.strip() == "/new":
            connection.call("rkllm.clear_kv_cache", {"keep_system_prompt": 1})
        elif line.strip():
            _answer(connection, line, thinking=thinking)
    return 0


def _read(prompt: str) -> str | None:
    """Return a line, or None at the end of input; Ctrl-C at the prompt only gives a new prompt."""
    while True:
        try:
            return input(prompt)
        except KeyboardInterrupt:
            print()
        except EOFError:
            if prompt:
                print()
            return None


def _answer(connection: Client, line: str, *, thinking: bool) -> None:
    call_id = connection.send(
        "rkllm.run_async",
        {"role": "user", "prompt_input": line, "enable_thinking": thinking, "keep_history": 1},
    )
    results = connection.results(call_id)
    while True:
        try:
            result = next(results, None)
            if result is None:
                break
            sys.stdout.write(result["text"])
            sys.stdout.flush()
            _note_end(result)
        except KeyboardInterrupt:
            # The daemon still answers this id: with what was generated, finish_reason "abort".
            connection.call("server.cancel", {"id": call_id})
            results = connection.results(call_id)
        except CallError as error:
            print(f"[{error}]")
            return


def _note_end(result: dict[str, Any]) -> None:
    if result["_callback_state"] != 2:
        return
    notes = [] if result["finish_reason"] == "stop" else [result["finish_reason"]]
    if result.get("history_reset"):
        notes.append("another client has used the model: the conversation was forgotten")
    print(f" [{'; '.join(notes)}]" if notes else "")
