"""What becomes of a call whose connection has ended, without a connection and without a clock."""

from __future__ import annotations

import math
from typing import Any

import pytest

from rkllmd.calls import registry
from rkllmd.calls.declaration import Kind
from rkllmd.calls.discovery import openrpc
from rkllmd.client import CallError, ConnectionLost, Crashed
from rkllmd.client.recovery import (
    ABSENT_SECONDS,
    REPEATABLE,
    RESTARTING_SECONDS,
    Attempts,
    Lost,
    is_repeatable,
    left_by,
)

METHODS = registry.discover()
# Of the instant methods, those that change something or rely on what was made over their connection.
NOT_REPEATABLE = {
    "$/cancelRequest",
    "rkllm.abort",
    "rknn.custom_op_get_op_attr",
    "rknn.query",
    "server.cancel",
    "server.pause",
    "server.submit",
    "server.watch",
}


def attempts(method: str, params: Any = None, deadline: float = math.inf, **options: Any) -> Attempts:
    return Attempts(method, params, options.pop("members", {}), reconnect=options.get("reconnect"), deadline=deadline)


def farewell(kind: str, **data: Any) -> dict[str, Any]:
    return {"code": -32000, "message": "Bye.", "data": {"kind": kind, **data}}


def unread(**data: Any) -> Lost:
    return Lost(was_sent=True, farewell=farewell("Restarting", **data))


# -- which calls may be sent again -------------------------------------------------------------------------------------


def test_the_table_of_the_client_is_what_the_methods_declare() -> None:
    declared = {
        name: frozenset() if method.repeatable is True else method.repeatable
        for name, method in METHODS.items()
        if method.repeatable
    }
    assert declared == REPEATABLE


def test_only_instant_methods_may_be_sent_again_and_each_was_thought_about() -> None:
    instant = {name for name, method in METHODS.items() if method.kind is Kind.INSTANT}
    assert set(REPEATABLE) | NOT_REPEATABLE >= instant
    assert set(REPEATABLE) <= instant
    assert not set(REPEATABLE) & NOT_REPEATABLE


def test_other_clients_learn_it_from_discovery() -> None:
    said = {item["name"]: item.get("x-repeatable") for item in openrpc(METHODS)["methods"]}
    assert said["server.status"] is True
    assert said["server.job"] == {"unless": ["forget"]}
    assert {name for name, value in said.items() if value} == set(REPEATABLE)


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"job": "a"}, True),
        ({"job": "a", "forget": False}, True),
        ({"job": "a", "forget": True}, False),
        (["a"], False),
    ],
)
def test_a_parameter_can_give_a_call_an_effect(params: Any, expected: bool) -> None:
    assert is_repeatable("server.job", params) is expected


def test_an_unknown_method_is_never_sent_again() -> None:
    assert not is_repeatable("server.metrics_of_tomorrow", None)


# -- what goes with a connection ---------------------------------------------------------------------------------------


def test_all_that_works_with_handles_of_a_connection_relies_on_it() -> None:
    owned = {"context", "matmul", "memory"}
    for name, method in METHODS.items():
        handles = {name for handle in method.handles for name in handle.types} | method.changes
        if handles & owned:
            assert left_by(name, None, {}) == "RKNN contexts and memories", name


@pytest.mark.parametrize(
    ("method", "params", "members", "expected"),
    [
        ("rkllm.run", {"prompt": "a"}, {}, None),
        ("rkllm.run", {"prompt": "a", "keep_history": 0}, {}, None),
        ("rkllm.run_async", {"prompt": "a", "keep_history": 1}, {}, "a conversation"),
        ("rkllm.run", {"rkllm_input": {}, "rkllm_infer_params": {"keep_history": 1}}, {}, "a conversation"),
        ("rkllm.run", [None, {"prompt_input": "a"}, {"keep_history": 1}, None], {}, "a conversation"),
        ("rkllm.run", {"prompt": "a", "keep_history": 1}, {"session": "kitchen"}, None),
        ("rkllm.init", {"model_path": "/a"}, {}, None),
        ("rknn.get_constants", None, {}, None),
        ("server.submit", {"method": "rknn.init", "params": {}}, {}, "RKNN contexts and memories"),
        ("server.submit", {"method": "rkllm.run", "params": {"prompt": "a"}}, {}, None),
        ("server.status", None, {}, None),
    ],
)  # fmt: skip
def test_what_a_call_leaves_with_its_connection(
    method: str, params: Any, members: dict[str, Any], expected: str | None
) -> None:
    assert left_by(method, params, members) == expected


# -- what the caller is told -------------------------------------------------------------------------------------------


def test_what_changes_nothing_is_sent_again() -> None:
    assert attempts("server.status").failure(Lost(was_sent=True)) is None
    assert attempts("server.watch").failure(Lost(was_sent=True, farewell=farewell("ShuttingDown"))) is None


@pytest.mark.parametrize("reconnect", [None, True])
def test_what_the_daemon_may_have_acted_upon_is_never_sent_again(reconnect: bool | None) -> None:
    """Not even where the program says that its calls rely on nothing."""
    error = attempts("rkllm.run", {"prompt": "a"}, reconnect=reconnect).failure(Lost(was_sent=True))
    assert isinstance(error, Crashed)
    assert (error.method, error.kind) == ("rkllm.run", "Crashed")


def test_what_was_not_sent_as_a_whole_may_be_sent() -> None:
    assert attempts("rkllm.run").failure(Lost(was_sent=False)) is None


def test_restarting_says_that_nobody_has_read_what_was_sent() -> None:
    assert attempts("rkllm.run").failure(unread()) is None
    heard = Lost(was_sent=True, farewell=farewell("Restarting"), was_heard=True)
    assert isinstance(attempts("rkllm.run").failure(heard), CallError), "somebody has"


@pytest.mark.parametrize("method", ["server.status", "rkllm.run"])
@pytest.mark.parametrize("was_sent", [True, False])
def test_where_the_daemon_says_why_that_is_told(method: str, was_sent: bool) -> None:
    error = attempts(method).failure(Lost(was_sent=was_sent, farewell=farewell("QueueFull")))
    assert isinstance(error, CallError)
    assert error.kind == "QueueFull"


@pytest.mark.parametrize(
    ("lost", "expected"),
    [
        (Lost(was_sent=True), Crashed),
        (Lost(was_sent=False), ConnectionLost),
        (unread(), CallError),
    ],
)
def test_who_wants_no_other_connection_is_told_at_once(lost: Lost, expected: type[Exception]) -> None:
    call = attempts("server.status", reconnect=False)
    assert type(call.failure(lost)) is expected
    assert not call.may_reconnect


def test_what_relied_on_the_connection_is_not_sent_over_another_one() -> None:
    refusal = attempts("rknn.run").refusal("RKNN contexts and memories")
    assert type(refusal) is ConnectionLost
    assert "rknn.run was not sent: call reconnect()" in str(refusal)
    assert attempts("rkllm.run").refusal("a conversation") is not None
    assert attempts("rkllm.run").refusal(None) is None, "nothing is gone"
    assert attempts("rkllm.run", reconnect=True).refusal("a conversation") is None, "the program knows better"
    assert attempts("server.status").refusal("a conversation") is None


def test_a_daemon_that_leaves_answers_so_and_the_next_one_is_asked() -> None:
    leaving = {"id": 1, "error": farewell("ShuttingDown")}
    assert attempts("server.status").is_refused_for_now(leaving)
    assert not attempts("server.status", reconnect=False).is_refused_for_now(leaving)
    assert not attempts("rkllm.run").is_refused_for_now(leaving), "it may have begun"
    assert not attempts("server.status").is_refused_for_now({"id": 1, "error": {"code": 1, "message": "x"}})
    assert not attempts("server.status").is_refused_for_now({"id": 1, "result": {}})


# -- how long it is tried ----------------------------------------------------------------------------------------------


def pauses(call: Attempts, lost: Lost | None = None) -> list[float]:
    """Return the pauses of a call to which the same happens again and again, until it gives up."""
    now, found = 1000.0, []
    while (seconds := call.pause(now, lost)) is not None:
        found.append(seconds)
        now += seconds
    return found


def test_the_first_attempt_is_at_once_and_the_pauses_grow() -> None:
    found = pauses(attempts("server.status"))
    assert found[0] == 0
    assert 0.025 <= found[1] <= 0.05
    assert max(found) <= 2
    assert ABSENT_SECONDS - 2 <= sum(found) < ABSENT_SECONDS


def test_the_clients_of_one_daemon_do_not_come_at_the_same_moment() -> None:
    assert len({tuple(pauses(attempts("server.status"))) for _ in range(8)}) == 8


def test_the_daemons_own_wish_is_obeyed() -> None:
    found = pauses(attempts("rkllm.run"), unread(retry_after_ms=5000))
    assert all(seconds >= 5 for seconds in found)
    assert RESTARTING_SECONDS - 7 <= sum(found) < RESTARTING_SECONDS


def test_the_callers_limit_bounds_all() -> None:
    assert sum(pauses(attempts("server.status", deadline=1003.0))) < 3
    assert sum(pauses(attempts("server.status", deadline=1100.0))) > 90, "also above the usual"
    assert attempts("rkllm.run", deadline=1003.0).pause(1000.0, unread(retry_after_ms=5000)) is None, "in vain"


@pytest.mark.parametrize("data", [{}, {"retry_after_ms": None}, {"retry_after_ms": "soon"}])
def test_last_words_without_a_time(data: dict[str, Any]) -> None:
    assert unread(**data).retry_after == 0
    assert Lost(was_sent=True, farewell={"code": 1, "message": "x"}).kind == ""
