"""Hold a short conversation with the loaded model, streamed token by token.

python examples/first_conversation.py [--socket /tmp/rkllm.sock] [--wait SECONDS [--pid PID]] [QUESTION ...]
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from pathlib import Path

from rkllmd.client import CallError, Client, ConnectionLost, default_socket, why_no_connection

QUESTIONS = ["What is an NPU?", "What is the capital of Norway?"]


def is_alive(pid: int) -> bool:
    """Return whether there is a process with this number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def connect(path: str, seconds: float, pid: int | None = None) -> Client:
    """Connect to the daemon, which may still be starting as the process ``pid``."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return Client(path)
        except OSError:
            if time.monotonic() > deadline or (pid is not None and not is_alive(pid)):
                raise
            time.sleep(0.05)  # nothing announces that a socket has been bound


def ask(rkllm: Client, question: str) -> None:
    """Print the question, and the answer as it comes."""
    before = f"\n> {question}\n  "
    for result in rkllm.stream("rkllm.run_async", {"role": "user", "prompt_input": question, "keep_history": 1}):
        print(before, result["text"], sep="", end="", flush=True)
        before = ""
    perf = result["perf"]
    speed = 1000 * perf["generate_tokens"] / max(perf["generate_time_ms"], 0.001)
    print(f"\n  ({perf['generate_tokens']} tokens, {speed:.0f} tokens/s)", flush=True)


def invite(path: str) -> None:
    """Print lines to try."""
    request = '{"jsonrpc":"2.0","id":1,"method":"rkllm.run_async","params":{"prompt":"Tell me a joke."}}'
    if shutil.which("socat"):
        command = f"echo '{request}' | socat -t 600 - UNIX-CONNECT:{path}"
    else:
        command = f"echo '{request}' | nc -N -U {path}"
    program = Path(sys.executable).with_name("rkllmd")
    print(
        f"\nThe daemon goes on serving {path}. In another terminal, try:\n\n  {command}\n\n"
        f"or, for a conversation:\n\n  {program} chat --socket {path}\n\n"
        f"or, for browsers and OpenAI's, Ollama's and Anthropic's clients (http://127.0.0.1:8080):\n\n"
        f"  {program} gateway --socket {path}\n\nCtrl-C ends the daemon.",
        flush=True,
    )


def main() -> int:
    """Converse; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--socket", default=default_socket(), help="path of the daemon's socket")
    parser.add_argument("--wait", type=float, default=0, metavar="SECONDS", help="wait for the daemon to start")
    parser.add_argument("--pid", type=int, help="the daemon's: if it ends, end silently, since it has said why")
    parser.add_argument("questions", nargs="*", default=QUESTIONS)
    given = parser.parse_args()
    try:
        with connect(given.socket, given.wait, given.pid) as rkllm:
            for question in given.questions:
                ask(rkllm, question)
    except (OSError, CallError, ConnectionLost) as error:
        if given.pid is None or is_alive(given.pid):
            print(why_no_connection(error, "with --socket") if isinstance(error, OSError) else error, file=sys.stderr)
        return 1
    if given.wait:
        invite(given.socket)
    return 0


if __name__ == "__main__":
    sys.exit(main())
