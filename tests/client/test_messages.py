"""What is a partial result, which socket is meant, and an error as an exception."""

from __future__ import annotations

from typing import Any

import pytest

from rkllmd.client import CallError, default_socket, is_partial
from tests.client.played import FINAL, PARTIAL, WAITING, failure, result


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (result(1, PARTIAL), True),
        (result(1, WAITING), True),
        (result(1, FINAL), False),
        (result(1, {"_callback_state": 3}), False),
        (result(1, {"success": True}), False),
        (result(1, [0]), False),
        (result(1, None), False),
        (failure(1), False),
    ],
)
def test_what_is_a_partial(message: dict[str, Any], expected: bool) -> None:
    assert is_partial(message) is expected


def test_which_socket_is_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RKLLM_UDS_PATH", "/run/other.sock")
    assert default_socket() == "/run/other.sock"
    monkeypatch.setenv("RKLLM_UDS_PATH", "")
    assert default_socket() == "/tmp/rkllm.sock"
    monkeypatch.delenv("RKLLM_UDS_PATH")
    assert default_socket() == "/tmp/rkllm.sock"


def test_an_error_of_the_daemon_as_an_exception() -> None:
    error = CallError({"code": -32602, "message": "Invalid.", "data": {"kind": "InvalidParams", "path": "$.x"}})
    assert (error.code, error.kind, error.data["path"], str(error)) == (-32602, "InvalidParams", "$.x", "Invalid.")
    detailed = CallError({"code": -32601, "message": "Method not found", "data": {"detail": "There is no x."}})
    assert str(detailed) == "Method not found: There is no x."
    bare = CallError({"code": 1, "message": "Something."})
    assert (bare.kind, bare.data, str(bare)) == ("", {}, "Something.")
