"""A plain server of a model, of the shape that is usual on these boards: ``python plain_server.py LIBRARY MODEL``.

One process of Flask's own server; one lock for all, and who comes meanwhile is refused; the C callback appends to a
list, a thread makes the C call, and the request looks every 5 ms what has come.
"""

from __future__ import annotations

import ctypes
import json
import sys
import threading
from collections.abc import Iterator
from typing import Any, Final

from flask import Flask, Response, request
from werkzeug.serving import make_server

from rkllmd.abi.layouts.rkllm import LAYOUTS, LLMResultCallback

_LAYOUT: Final = LAYOUTS["1.3"]
_POLL_SECONDS: Final = 0.005
_BUSY: Final = 503

app = Flask(__name__)
lock = threading.Lock()
texts: list[bytes] = []


class Model:
    """The loaded model."""

    def __init__(self, library: str, path: str) -> None:
        """Load it."""
        self._dll = ctypes.CDLL(library)
        for name, signature in _LAYOUT.signatures.items():
            function = getattr(self._dll, name)
            function.argtypes, function.restype = signature.argtypes, signature.restype
        self._handle = ctypes.c_void_p()
        self._callback = LLMResultCallback(_on_result)
        self._callbacks = _LAYOUT["RKLLMCallback"](self._callback)
        self._param = self._dll.rkllm_createDefaultParam()
        self._param.model_path = path.encode()
        self._param.max_new_tokens = 0
        status = self._dll.rkllm_init(
            ctypes.byref(self._handle), ctypes.byref(self._param), ctypes.byref(self._callbacks)
        )
        assert status == 0, status

    def run(self, prompt: str, max_new_tokens: int) -> None:
        """Run to the end."""
        given = _LAYOUT["RKLLMInput"](prompt_input=prompt.encode())
        infer = _LAYOUT["RKLLMInferParam"](max_new_tokens=max_new_tokens)
        self._dll.rkllm_run(self._handle, ctypes.byref(given), ctypes.byref(infer), None)


def _on_result(result: Any, _userdata: int | None, state: int) -> int:
    if state == 0:
        texts.append(result[0].text)
    return 0


@app.post("/v1/chat/completions")
def chat() -> Response:
    """Answer the last message, as a stream."""
    if not lock.acquire(blocking=False):
        return Response("The server is busy.", _BUSY)
    asked = request.get_json()
    return Response(_stream(asked["messages"][-1]["content"], asked["max_tokens"]), mimetype="text/event-stream")


def _stream(prompt: str, max_tokens: int) -> Iterator[bytes]:
    try:
        thread = threading.Thread(target=model.run, args=(prompt, max_tokens))
        thread.start()
        is_running = True
        while is_running:
            thread.join(_POLL_SECONDS)
            is_running = thread.is_alive()
            while texts:
                delta = {"role": "assistant", "content": texts.pop(0).decode()}
                chunk = {
                    "id": "chat",
                    "object": "chat.completion.chunk",
                    "choices": [{"index": 0, "delta": delta, "finish_reason": None}],
                }
                yield b"data: " + json.dumps(chunk).encode() + b"\n\n"
    finally:
        lock.release()


if __name__ == "__main__":
    model = Model(sys.argv[1], sys.argv[2])
    server = make_server("127.0.0.1", 0, app, threaded=True)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
