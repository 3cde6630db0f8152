"""What a client is told of an error, and whether its library tries again."""

from __future__ import annotations

import pytest

from rkllmd.client import CallError, CallTimeout, ConnectionLost, Crashed, SocketNotFound
from rkllmd.gateway import failures
from rkllmd.gateway.failures import Failure
from rkllmd.gateway.fields import Names, WrongField

NAMES = Names()
NAMES.add("sampling_params.top_p", "options.top_p")


def call_error(code: int, kind: str, **data: object) -> CallError:
    return CallError({"code": code, "message": "No.", "data": {"kind": kind, **data}})


def test_a_full_queue_says_when_to_come_again() -> None:
    failure = failures.of(call_error(-32001, "QueueFull", retry_after_ms=1500.2))
    assert failure.status == 429
    assert failure.headers == {"retry-after-ms": "1500", "retry-after": "2"}


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (call_error(-32602, "InvalidParams"), 400),
        (call_error(-32008, "NotSupported"), 400),
        (call_error(-32009, "PermissionDenied"), 403),
        (call_error(-32004, "Timeout"), 504),
        (call_error(-32002, "RuntimeError"), 500),
        (call_error(-32003, "Cancelled"), 500),
        (Crashed("rkllm.run_async"), 502),
        (CallTimeout("rkllm.run_async", 3), 504),
        (WrongField("n", "n is not supported."), 400),
    ],
)
def test_what_would_fail_again_is_not_tried_again(error: Exception, status: int) -> None:
    failure = failures.of(error)
    assert (failure.status, failure.headers) == (status, {"x-should-retry": "false"})


@pytest.mark.parametrize(
    "error",
    [
        call_error(-32014, "Restarting"),
        ConnectionLost(),
        SocketNotFound(2, "No such file", "/run/rkllm/rkllm.sock"),
    ],
)
def test_a_daemon_that_comes_back_may_be_asked_again(error: Exception) -> None:
    failure = failures.of(error)
    assert (failure.status, failure.headers) == (503, {})
    assert "/run" not in failure.message


def test_the_wrong_field_is_named_as_the_client_knows_it() -> None:
    assert failures.of(call_error(-32602, "InvalidParams", path="$.messages[0].content")).param == "messages[0].content"
    error = call_error(-32602, "InvalidParams", path="$.sampling_params.top_p")
    assert failures.of(error, NAMES).param == "options.top_p"
    assert failures.of(call_error(-32602, "InvalidParams")).param is None


def test_a_prompt_that_does_not_fit_into_the_context_has_a_kind_of_its_own() -> None:
    failure = failures.of(call_error(-32602, "InvalidParams", path="$.messages", max_context_len=4096, tokens=5000))
    assert (failure.status, failure.kind, failure.param) == (400, failures.TOO_LONG, "messages")
    assert failure.excess == (5000, 4096)
    assert failures.of(call_error(-32602, "InvalidParams", max_context_len=4096)).excess == (None, 4096)


def test_a_message_names_the_field_as_clients_do() -> None:
    data: dict[str, object] = {"kind": "InvalidParams", "path": "$.sampling_params.top_p"}
    for begins in ("$.sampling_params.top_p", "sampling_params.top_p"):
        error = CallError({"code": -32602, "message": f"{begins} must be at most 1.", "data": data})
        assert str(failures.of(error, NAMES)) == "options.top_p must be at most 1."


def test_a_failure_stays_what_it_is_and_a_fault_is_none() -> None:
    failure = Failure(404, "ModelNotInitialized", "There is none.")
    assert failures.of(failure) is failure
    with pytest.raises(ZeroDivisionError):
        failures.of(ZeroDivisionError())


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("/home/me/models/qwen3.rkllm is no model", "qwen3.rkllm is no model"),
        ("'/var/lib/x/y' can't be read (/etc/rkllmd.toml)", "'y' can't be read (rkllmd.toml)"),
        ("see /var/lib/", "see …"),
        ("see https://example.org/a/b", "see https://example.org/a/b"),
        ("$.messages[0].content and a/b stay", "$.messages[0].content and a/b stay"),
    ],
)
def test_no_path_of_the_server_is_told(message: str, shown: str) -> None:
    assert failures.without_paths(message) == shown
