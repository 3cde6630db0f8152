"""Whatever a client sends: it learns what is wrong, nothing was executed, and the next good request is answered."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.daemon import Daemon, Wire, kind, simulator

Start = Callable[..., Daemon]

MAX_LINE = 16 * 2**20
# For the long run: RKLLMD_FUZZ_EXAMPLES=50000 sends about a million frames; without it the frames are always the same.
FUZZ_EXAMPLES = int(os.environ.get("RKLLMD_FUZZ_EXAMPLES", "80"))


@pytest.fixture(scope="module")
def serving(start_for_module: Start) -> Daemon:
    """One daemon that gets it all."""
    return start_for_module("--max-models", "8")


def assert_recovered(wire: Wire) -> None:
    """Send a good request, as QEMU does after each malformed one; its answer must be the next message."""
    wire.request("server.queue", None, "good")
    message = wire.receive()
    assert message is not None, "the connection was closed"
    assert (message["id"], message.get("error")) == ("good", None), f"not the answer of the good request: {message}"


def request(**members: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "server.queue", **members}).encode()


# -- lines

INVALID_LINES: dict[str, tuple[bytes, Any, int]] = {
    "no JSON": (b"hello", None, -32700),
    "half an object": (b'{"jsonrpc": "2.0", "id": 1', None, -32700),
    "invalid UTF-8": (b'{"jsonrpc":"2.0","id":1,"method":"\xff"}', None, -32700),
    "overlong UTF-8": (b'{"jsonrpc":"2.0","id":1,"method":"\xc0\xaf"}', None, -32700),
    "UTF-8 of a surrogate": (b'{"jsonrpc":"2.0","id":1,"method":"\xed\xa0\x80"}', None, -32700),
    "a lone surrogate": (b'{"jsonrpc":"2.0","id":1,"method":"\\ud800"}', None, -32700),
    "BOM": (b"\xef\xbb\xbf" + request(), None, -32700),
    "UTF-16": (request().decode().encode("utf-16-le"), None, -32700),
    "NaN": (b'{"jsonrpc":"2.0","id":1,"method":"server.queue","x":NaN}', None, -32700),
    "a million brackets": (b"[" * 10**6, None, -32700),
    "a million open objects": (b'{"a":' * 10**6, None, -32700),
    "a number": (b"1", None, -32600),
    "a string": (b'"hello"', None, -32600),
    "an empty batch": (b"[]", None, -32600),
    "an empty object": (b"{}", None, -32600),
    "a batch too long": (b"[" + b",".join([request()] * 65) + b"]", None, -32600),
    "id 2^64": (request(id=2**64), None, -32600),
    "id -2^63-1": (request(id=-(2**63) - 1), None, -32600),
    "id 1.5": (request(id=1.5), None, -32600),
    "id true": (request(id=True), None, -32600),
    "id an array": (request(id=[1]), None, -32600),
    "id too long": (request(id="x" * 129), None, -32600),
    "no version": (b'{"id":1,"method":"server.queue"}', 1, -32600),
    "version 1.0": (request(jsonrpc="1.0"), 1, -32600),
    "version a number": (request(jsonrpc=2.0), 1, -32600),
    "method a number": (request(method=1), 1, -32600),
    "params false": (request(params=False), 1, -32600),
    "params a string": (request(params="x"), 1, -32600),
    "unknown method": (request(method="server.nothing"), 1, -32601),
    "a method of a megabyte": (request(method="x" * 2**20), 1, -32601),
    "a private module": (request(method="rkllm._common"), 1, -32601),
    "a method's case": (request(method="Server.Queue"), 1, -32601),
    "too many params": (request(params=[1]), 1, -32602),
    "unknown params": (request(params={"x": 1}), 1, -32602),
    "a descriptor that did not come": (request(fds=1), 1, -32602),
    "too many descriptors": (request(fds=17), 1, -32602),
    "descriptors a string": (request(fds="1"), 1, -32602),
    "a member of a megabyte": (request(fds="A" * 2**20), 1, -32602),
    "an id of a megabyte": (request(id="A" * 2**20), None, -32600),
    "a version of a megabyte": (request(jsonrpc="A" * 2**20), 1, -32600),
    "params a string of a megabyte": (request(params="A" * 2**20), 1, -32600),
    "a string of a megabyte": (json.dumps("A" * 2**20).encode(), None, -32600),
    "a broken line with a megabyte": (request(params={"x": "A" * 2**20}) + b"}", None, -32700),
}


@pytest.mark.parametrize("name", INVALID_LINES)
def test_a_wrong_line_gets_its_error_and_the_connection_goes_on(serving: Daemon, name: str) -> None:
    line, call_id, code = INVALID_LINES[name]
    with serving.connect() as wire:
        wire.send(line + b"\n")
        error = wire.receive()
        assert (error["id"], error["error"]["code"]) == (call_id, code)
        assert isinstance(error["error"]["data"]["kind"], str)
        assert len(json.dumps(error)) < 2000, "what a client sends is not echoed"
        assert_recovered(wire)


def test_all_wrong_lines_in_one_piece(serving: Daemon) -> None:
    with serving.connect() as wire:
        lines = [line for line, _, _ in INVALID_LINES.values() if len(line) < 100_000]
        wire.send(b"\n".join(lines) + b"\n")
        for line, call_id, code in INVALID_LINES.values():
            if len(line) < 100_000:
                error = wire.receive()
                assert (error["id"], error["error"]["code"]) == (call_id, code)
        assert_recovered(wire)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b" ",
        b"\r",
        b"\t \r",
        b'{"jsonrpc":"2.0","result":1,"id":1}',
        b'{"jsonrpc":"2.0","method":"server.nothing"}',
        b'{"jsonrpc":"2.0","method":"rkllm.run","params":{"wrong":1}}',
    ],
)
def test_what_is_not_answered(serving: Daemon, line: bytes) -> None:
    with serving.connect() as wire:
        wire.send(line + b"\n")
        assert_recovered(wire)


def test_a_request_in_pieces_of_one_byte(serving: Daemon) -> None:
    with serving.connect() as wire:
        for byte in request() + b"\r\n":
            wire.send(bytes([byte]))
        assert wire.receive()["id"] == 1
        assert_recovered(wire)


# -- the longest line


def test_a_line_as_long_as_allowed_is_served(serving: Daemon) -> None:
    line = request(x="")
    with serving.connect() as wire:
        wire.send(line[:-2] + b"y" * (MAX_LINE - len(line)) + line[-2:] + b"\n")
        assert wire.receive()["id"] == 1
        assert_recovered(wire)


@pytest.mark.parametrize("end", [b"", b"\n"], ids=["unfinished", "finished"])
def test_a_longer_line_ends_the_connection(serving: Daemon, end: bytes) -> None:
    with serving.connect() as wire:
        wire.send(request(id="before") + b"\n" + b"x" * (MAX_LINE + 1) + end)
        assert wire.receive()["id"] == "before"
        error = wire.receive()
        assert (error["id"], error["error"]["code"], kind(error)) == (None, -32600, "FrameTooLarge")
        assert error["error"]["data"]["limit"] == MAX_LINE
        assert wire.receive() is None, "a half-read line can't be resynchronised"
    with serving.connect() as wire:
        assert_recovered(wire)


def test_what_runs_is_answered_before_the_connection_ends(serving: Daemon) -> None:
    serving.load()
    with serving.connect() as wire:
        handles = [model["handle"] for model in wire.ask("server.status")["result"]["models"]]
        wire.request("rkllm.run", [handles[0], {"prompt_input": "Hello"}], "run")
        wire.send(b"x" * (MAX_LINE + 1))
        found = {message["id"]: kind(message) for message in wire.receive_all()}
        assert found == {"run": None, None: "FrameTooLarge"}
    with serving.connect() as wire:
        assert kind(wire.ask("rkllm.destroy", [handles[0]])) is None


# -- a JSON test suite of our own, after JSONTestSuite's y_ (must be accepted), n_ (must not) and i_ (pinned)

ACCEPTED = {
    "array_empty": b"[]",
    "array_nested": b"[[[]]]",
    "array_heterogenous": b'[null,1,"a",{}]',
    "array_spaces": b" [ 1 , 2 ] ",
    "object_empty": b"{}",
    "object_nested": b'{"a":{"b":{}}}',
    "object_duplicate_key": b'{"a":1,"a":2}',
    "object_empty_key": b'{"":0}',
    "object_nul_key": b'{"a\\u0000b":0}',
    "number_0": b"0",
    "number_minus_0": b"-0",
    "number_1e1": b"1e1",
    "number_1E+2": b"1E+2",
    "number_real": b"123.456e78",
    "number_int64_min": b"-9223372036854775808",
    "number_uint64_max": b"18446744073709551615",
    "string_escapes": b'"\\"\\\\\\/\\b\\f\\n\\r\\t"',
    "string_unicode": '"gr\u00fc\u00df \U0001f389"'.encode(),
    "string_pair": b'"\\ud83c\\udf89"',
    "string_nul": b'"\\u0000"',
    "string_del": b'"\x7f"',
    "string_nonchar": b'"\\uffff"',
    "string_line_separator": '"\u2028"'.encode(),
    "true": b"true",
    "false": b"false",
    "null": b"null",
    "depth_500": b"[" * 500 + b"]" * 500,
}
REFUSED = {
    "array_comma": b"[1,]",
    "array_leading_comma": b"[,1]",
    "array_double_comma": b"[1,,2]",
    "array_unclosed": b"[1",
    "array_colon": b"[1:2]",
    "object_trailing_comma": b'{"a":1,}',
    "object_no_value": b'{"a":}',
    "object_no_colon": b'{"a" 1}',
    "object_unquoted_key": b"{a:1}",
    "object_number_key": b"{1:1}",
    "object_single_quotes": b"{'a':1}",
    "object_comment": b'{"a":1/**/}',
    "number_leading_zero": b"012",
    "number_plus": b"+1",
    "number_hex": b"0x1",
    "number_point": b"1.",
    "number_no_integer": b".5",
    "number_no_exponent": b"1e",
    "number_minus": b"-",
    "number_nan": b"NaN",
    "number_infinity": b"Infinity",
    "number_minus_infinity": b"-Infinity",
    "number_underscore": b"1_000",
    "string_tab": b'"\t"',
    "string_nul": b'"\x00"',
    "string_escape_x": b'"\\x41"',
    "string_short_u": b'"\\u00"',
    "string_unclosed": b'"a',
    "string_single": b"'a'",
    "string_bad_utf8": b'"\xff"',
    "string_truncated_utf8": b'"\xe2\x82"',
    "literal_capital": b"True",
    "literal_cut": b"nul",
    "two_values": b"1 2",
    "vertical_tab": b"\x0b1",
    "nbsp": b"\xc2\xa01",
    "bom": b"\xef\xbb\xbf1",
    "closing": b"]",
    "nothing": b",",
}
# What the grammar leaves to us: (value, whether it is accepted).
PINNED = {
    "number_huge_exponent": (b"1e400", False),
    "number_tiny_exponent": (b"1e-400", True),
    "number_above_uint64": (b"18446744073709551616", True),
    "string_lone_high": (b'"\\ud800"', False),
    "string_lone_low": (b'"\\udc00"', False),
    "string_swapped_pair": (b'"\\udf89\\ud83c"', False),
    "depth_1000": (b"[" * 1000 + b"]" * 1000, True),
    "depth_1025": (b"[" * 1025 + b"]" * 1025, False),
}
CORPUS = [
    *((f"y_{name}", value, True) for name, value in ACCEPTED.items()),
    *((f"n_{name}", value, False) for name, value in REFUSED.items()),
    *((f"i_{name}", value, accepted) for name, (value, accepted) in PINNED.items()),
]


def test_json_suite(serving: Daemon) -> None:
    """Each value as a member of a good request, which is ignored if it is JSON, and as a line of its own."""
    with serving.connect() as wire:
        for name, value, accepted in CORPUS:
            wire.send(b'{"jsonrpc":"2.0","id":1,"method":"server.queue","ignored":' + value + b"}\n")
            answer = wire.receive()
            assert (answer["id"], kind(answer)) == ((1, None) if accepted else (None, "ParseError")), name
            wire.send(value + b"\n")
            answer = wire.receive()
            if isinstance(answer, list):  # an array is a batch of things that are no Requests
                assert {kind(item) for item in answer} == {"InvalidRequest"}, name
            else:
                assert kind(answer) == ("InvalidRequest" if accepted else "ParseError"), name
            assert_recovered(wire)


# -- parameters

WRONG_PARAMS: dict[str, tuple[str, Any]] = {
    "unknown field": ("rkllm.init", {"model_path": "/m", "max_context_length": 1}),
    "unknown parameter": ("server.cancel", {"id": 1, "idd": 2}),
    "wrong type": ("rkllm.init", {"model_path": 1}),
    "missing": ("rkllm.init", {}),
    "null for a struct": ("rkllm.init", [None]),
    "out of range": ("rkllm.init", {"model_path": "/m", "top_k": 2**31}),
    "far out of range": ("rkllm.init", {"model_path": "/m", "top_k": 2**70}),
    "a fraction": ("rkllm.init", {"model_path": "/m", "top_k": 1.5}),
    "true for a number": ("rkllm.init", {"model_path": "/m", "top_k": True}),
    "a huge array of the wrong type": ("rkllm.init", {"model_path": list(range(10**6))}),
    "a huge array": ("rkllm.init", list(range(10**6))),
    "a huge object": ("rkllm.init", {f"key{number}": number for number in range(10**5)}),
    "a huge string for a number": ("rkllm.init", {"model_path": "/m", "top_k": "9" * 10**6}),
    "a huge name": ("rkllm.init", {"x" * 10**6: 1}),
    "nested deeply": ("rkllm.init", {"model_path": json.loads("[" * 900 + "]" * 900)}),
    "too many positions": ("rkllm.init", [{"model_path": "/m"}, None, None, None, 1]),
    "NUL in a path": ("rkllm.init", {"model_path": "/m\0n"}),
    "a relative path": ("rkllm.init", {"model_path": "model.rkllm"}),
    "a huge path": ("rkllm.init", {"model_path": "/" + "x" * 10**6}),
    "a huge relative path": ("rkllm.init", {"model_path": "x" * 10**6}),
    "a huge absolute path": ("rkllm.init", {"model_path": "/" * 2**20}),
    "a huge string for an enum": ("rkllm.run", {"prompt": "x", "input_type": "A" * 2**20}),
    "a huge string for a handle": ("rkllm.run", {"handle": "A" * 2**20, "prompt": "x"}),
    "a huge string for a struct": ("rkllm.run", {"rkllm_input": "A" * 2**20}),
    "a huge string for a query": ("rknn.query", {"cmd": "A" * 2**20}),
    "a huge string for a tensor's name": (
        "rknn.set_io_mem",
        {"mem": 1, "attr": {"name": "A" * 2**20}},
    ),
    "a name too long": ("rkllm.init", {"model_path": "/" + "x" * 1000}),
    "no file": ("rkllm.init", {"model_path": "/nowhere/model.rkllm"}),
    "a directory": ("rkllm.init", {"model_path": "/"}),
    "a device": ("rkllm.init", {"model_path": "/dev/zero"}),
    "an empty path": ("rkllm.init", {"model_path": ""}),
}


@pytest.mark.parametrize("name", WRONG_PARAMS)
def test_wrong_parameters_are_refused_before_anything_runs(serving: Daemon, name: str) -> None:
    method, params = WRONG_PARAMS[name]
    loads = serving.calls("rkllm_init")
    with serving.connect() as wire:
        error = wire.ask(method, params)
        assert (kind(error), error["error"]["code"]) == ("InvalidParams", -32602)
        data = error["error"]["data"]
        assert data["path"].startswith("$")
        assert isinstance(data["keyword"], str)
        assert len(json.dumps(error)) < 10_000, "what a client sends is not echoed"
        assert_recovered(wire)
    assert serving.calls("rkllm_init") == loads


def test_a_fifo_is_no_model(serving: Daemon, tmp_path: Path) -> None:
    """Opening one would block the NPU's thread until somebody writes."""
    os.mkfifo(tmp_path / "model.rkllm")
    with serving.connect() as wire:
        assert kind(wire.ask("rkllm.init", {"model_path": str(tmp_path / "model.rkllm")})) == "InvalidParams"
        assert_recovered(wire)


def test_a_file_that_is_no_model_gets_the_runtimes_own_words(serving: Daemon, tmp_path: Path) -> None:
    path = tmp_path / "model.rkllm"
    path.write_text("This is not the model you are looking for.")
    with serving.connect() as wire:
        error = wire.ask("rkllm.init", {"model_path": str(path)})
        assert (kind(error), error["error"]["code"]) == ("RuntimeError", -32002)
        data = error["error"]["data"]
        assert (data["function"], data["status"]) == ("rkllm_init", -1)
        assert "E rkllm: invalid rknn llm model magic" in data["log"]
        assert_recovered(wire)


def test_a_path_outside_the_allowed_directories(start: Start, tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (outside / "model.rkllm").touch()
    (inside / "model.rkllm").touch()
    (inside / "link.rkllm").symlink_to(outside / "model.rkllm")
    daemon = start("--allowed-directories", str(inside))
    with daemon.connect() as wire:
        for path in (outside / "model.rkllm", inside / "link.rkllm", f"{inside}/../outside/model.rkllm", "/etc/passwd"):
            error = wire.ask("rkllm.init", {"model_path": str(path)})
            assert (kind(error), error["error"]["code"]) == ("PermissionDenied", -32009), path
            assert_recovered(wire)
        assert daemon.calls("rkllm_init") == 0
        assert kind(wire.ask("rkllm.init", {"model_path": str(inside / "model.rkllm")})) is None


# -- a runtime that can't be used


def test_an_unknown_runtime_is_refused_by_name(start: Start) -> None:
    _check_unusable(start(library=simulator("9.9.9", layout="1.3")), "9.9.9")


@pytest.mark.parametrize(("version", "layout"), [("1.3.0", "1.2"), ("1.2.3", "1.3")])
def test_a_runtime_that_lies_about_its_structs_is_found_out(start: Start, version: str, layout: str) -> None:
    _check_unusable(start(library=simulator(version, layout=layout)), version)


def test_a_library_that_is_none(start: Start, tmp_path: Path) -> None:
    (tmp_path / "librkllmrt.so").write_bytes(b"RKLLM SDK (version: 1.3.0 | target: Linux)")
    _check_unusable(start(library=tmp_path / "librkllmrt.so"), "librkllmrt.so")


def _check_unusable(daemon: Daemon, named: str) -> None:
    with daemon.connect() as wire:
        for method, params in (
            ("rkllm.init", {"model_path": str(daemon.model)}),
            ("rkllm.createDefaultParam", None),
        ):
            error = wire.ask(method, params)
            assert (kind(error), error["error"]["code"]) == ("RuntimeUnavailable", -32011)
            assert {"searched", "found", "fix"} <= error["error"]["data"].keys()
            assert named in json.dumps(error), "it says which"
            assert_recovered(wire)
        for method in ("server.status", "rpc.discover", "rkllm.get_constants", "rkllm.get_functions"):
            assert kind(wire.ask(method)) is None, f"{method} needs no library"
        runtime = wire.ask("server.status")["result"]["versions"]["runtime"]
        assert runtime["error"]["data"]["kind"] == "RuntimeUnavailable"
        assert kind(wire.ask("rkllm.run", {"prompt_input": "Hello"})) in ("ModelNotInitialized", "RuntimeUnavailable")
    assert len(daemon.events("runtime_unavailable")) == 1


# -- fuzz

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
