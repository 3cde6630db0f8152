"""Whatever a client sends, at random: each answer is a response, and the next good request is answered."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.daemon import Daemon, Start

# For the long run: RKLLMD_FUZZ_EXAMPLES=50000 sends about a million frames; without it the frames are always the same.
FUZZ_EXAMPLES = int(os.environ.get("RKLLMD_FUZZ_EXAMPLES", "30"))

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(
        ["MODEL", "/", "2.0", "partial", "notify", "final", "user", 2**31, 2**63, 2**64, -1, 0, 1, "", "\0", "x" * 300]
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=6,
)
NAMES = st.sampled_from(
    [
        "model_path",
        "top_k",
        "prompt_input",
        "prompt",
        "role",
        "input_type",
        "handle",
        "rkllm_input",
        "input_ids",
        "rkllm_infer_params",
        "mode",
        "keep_history",
        "id",
        "param",
        "embed",
        "n_tokens",
        "keep_system_prompt",
        "start_pos",
        "end_pos",
        "lora_adapter_path",
        "max_new_tokens",
        "extend_param",
        "sampling",
        "tools",
        "n_batch",
    ]
)
PARAMS = (
    st.dictionaries(NAMES, JSON_VALUES, max_size=4)
    | st.lists(JSON_VALUES, max_size=4)
    | st.builds(lambda name, inner: {name: inner}, NAMES, st.dictionaries(NAMES, JSON_VALUES, max_size=3))
    | JSON_VALUES
)
METHODS = [
    "rkllm.init",
    "rkllm.run",
    "rkllm.run_async",
    "rkllm.destroy",
    "rkllm.abort",
    "rkllm.clear_kv_cache",
    "rkllm.load_lora",
    "rkllm.load_prompt_cache",
    "rkllm.set_chat_template",
    "rkllm.set_function_tools",
    "rkllm.set_cross_attn_params",
    "rkllm.is_running",
    "rkllm.get_kv_cache_size",
    "rkllm.release_prompt_cache",
    "rkllm.createDefaultParam",
    "rkllm.get_constants",
    "server.status",
    "server.queue",
    "server.cancel",
    "server.pause",
    "server.submit",
    "server.job",
    "server.watch",
    "$/cancelRequest",
    "rpc.discover",
]
SUBMITTED = st.builds(
    lambda method, params: {"method": method, "params": params}, st.sampled_from(METHODS) | JSON_VALUES, PARAMS
)
REQUESTS = st.fixed_dictionaries(
    {"jsonrpc": st.just("2.0") | JSON_VALUES, "method": st.sampled_from(METHODS) | JSON_VALUES},
    optional={
        "id": st.integers(0, 9) | JSON_VALUES,
        "params": PARAMS | SUBMITTED | st.builds(lambda events: {"events": events}, JSON_VALUES),
        "stream": JSON_VALUES,
        "fds": JSON_VALUES,
        "result": JSON_VALUES,
    },
)
MESSAGES = REQUESTS | REQUESTS | st.lists(REQUESTS | JSON_VALUES, max_size=5) | JSON_VALUES


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    """Make a message, sometimes with some of its bytes changed."""
    frame = json.dumps(draw(MESSAGES)).encode().replace(b"\\ud", b"\\ue")
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        place = draw(st.integers(0, len(frame)))
        middle = draw(
            st.sampled_from([b"", b"\0", b"\xff", b'"', b"{", b"]", b",", b"\\", b"\r", b"e9", b"\xef\xbb\xbf"])
        )
        frame = frame[:place] + middle + frame[place + draw(st.integers(0, 2)) :]
    return frame.replace(b"\n", b" ")


@pytest.fixture(scope="module")
def fuzzed(start_for_module: Start) -> Daemon:
    daemon = start_for_module("--max-models", "4", scenario="text=ab")
    daemon.load()
    return daemon


@settings(
    max_examples=FUZZ_EXAMPLES,
    deadline=None,
    database=None,
    derandomize="RKLLMD_FUZZ_EXAMPLES" not in os.environ,
    suppress_health_check=list(HealthCheck),
)
@given(st.lists(frames(), min_size=20, max_size=30), st.integers(1, 5000))
def test_fuzz(fuzzed: Daemon, sent: list[bytes], piece: int) -> None:
    """Whatever is sent, each answer is a Response, none is an internal error, and a good request is answered."""
    data = b"\n".join(sent).replace(b"MODEL", os.fsencode(fuzzed.model)) + b"\n"
    with fuzzed.connect() as wire:
        for start in range(0, len(data), piece):
            wire.send(data[start : start + piece])
        wire.request("server.queue", None, "good")
        while True:
            message = wire.receive()
            assert message is not None, "the daemon closed the connection"
            if isinstance(message, dict) and message.get("id") == "good" and "limit" in message.get("result", {}):
                return
            for answer in message if isinstance(message, list) else [message]:
                _check_response(answer)


def _check_response(answer: Any) -> None:
    if answer.get("method") in ("rkllm.token", "server.event"):
        assert answer.keys() == {"jsonrpc", "method", "params"}
        return
    assert answer["jsonrpc"] == "2.0"
    assert answer.keys() in ({"jsonrpc", "id", "result"}, {"jsonrpc", "id", "error"})
    if "error" in answer:
        error = answer["error"]
        assert error.keys() == {"code", "message", "data"}
        assert error["code"] != -32603, f"the daemon's own fault: {error}"
        assert isinstance(error["message"], str)
        assert isinstance(error["data"]["kind"], str)
