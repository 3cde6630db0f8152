"""Clients that hang up at random moments: for each, how long after that the NPU was free for somebody else."""

from __future__ import annotations

import random
import socket
import time

from tests.daemon import Daemon

_BODY = b'{"messages":[{"role":"user","content":"Hello"}],"stream":%s}'
_HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
_SERVED = b"HTTP/1.1 200"
# Bytes of the answer that are read before: some tokens.
_MOST_READ = 4000


def rounds(daemon: Daemon, address: str, count: int, choice: random.Random) -> list[float]:
    """Return the seconds from each hang-up to the answer of a run of one token, over the raw socket.

    The daemon's runs go on until they are ended. Its queue has room for some: on a busy machine the run of who has hung
    up may come to it behind the one of a token, and still be there when the next client asks.
    """
    host, _, port = address.removeprefix("http://").rpartition(":")
    took: list[float] = []
    with daemon.connect() as other:
        for number in range(count):
            with socket.create_connection((host, int(port)), 60) as client:
                _ask_a_while(client, choice)
            began = time.perf_counter()
            answer = other.ask("rkllm.run", {"prompt": "x", "max_new_tokens": 1}, number)
            took.append(time.perf_counter() - began)
            assert "result" in answer, answer
    return took


def _ask_a_while(client: socket.socket, choice: random.Random) -> None:
    body = _BODY % choice.choice((b"true", b"false"))
    request = _HEAD % len(body) + body
    if choice.random() < 0.1:
        client.sendall(request[: choice.randrange(len(request))])
        return
    client.sendall(request)
    left = choice.choice((0, choice.randrange(_MOST_READ))) if b"true" in body else 0
    answer = b""
    while len(answer) < left:
        data = client.recv(left - len(answer))
        answer += data
        assert data, f"the answer has ended: {answer!r}"
        assert answer[: len(_SERVED)] == _SERVED[: len(answer)], f"no stream comes: {answer!r}"
