"""Which members of a request may stand among its parameters, for which methods, and what happens to them."""

from __future__ import annotations

from typing import Any

import pytest

from rkllmd.calls import registry
from rkllmd.calls.binding.members_in_params import lift
from rkllmd.errors import InvalidParams
from rkllmd.wire import jsonrpc
from rkllmd.wire.members import NO_MEMBERS

METHODS = registry.discover()
ALL = {
    "first_token_timeout_ms": 1,
    "session": "kitchen",
    "stream": "final",
    "priority": "low",
    "timeout_ms": 2,
    "run_timeout_ms": 4,
    "wait_timeout_ms": 3,
    "fds": 0,
    "reply_fds": True,
}
OF_CALLS = {"priority", "run_timeout_ms", "timeout_ms", "wait_timeout_ms"}
OF_RUNS = OF_CALLS | {"first_token_timeout_ms", "session", "stream"}


def lifted(method: str, params: Any, **beside: Any) -> jsonrpc.Call:
    call = jsonrpc.Call(jsonrpc.Request(1, method, params, beside), None)
    lift(METHODS[method], call)
    return call


@pytest.mark.parametrize(
    ("method", "names"),
    [
        ("rkllm.run", OF_RUNS),
        ("rkllm.run_async", OF_RUNS),
        ("rkllm.init", OF_CALLS),
        ("rknn.infer", OF_CALLS),
        ("rkllm.clear_kv_cache", OF_CALLS),
        ("rkllm.abort", set()),
        ("server.status", set()),
        ("server.submit", set()),
    ],
)
def test_only_what_means_something_for_the_method_is_moved(method: str, names: set[str]) -> None:
    call = lifted(method, {**ALL, "prompt": "Hello"})
    assert call.members.given.keys() == names
    assert call.params == {name: value for name, value in {**ALL, "prompt": "Hello"}.items() if name not in names}


def test_they_mean_what_they_mean_beside_the_method() -> None:
    call = lifted("rkllm.run", {"prompt": "Hello", "timeout_ms": 1500, "session": "kitchen"}, priority="low")
    assert (call.members.timeout, call.members.session, call.members.priority) == (1.5, "kitchen", "low")


def test_a_parameter_of_the_methods_own_stays_where_it_is() -> None:
    """rknn.wait's extend is a struct with timeout_ms, which may be given flat."""
    call = lifted("rknn.wait", {"timeout_ms": 5, "priority": "low"})
    assert call.params == {"timeout_ms": 5}
    assert call.members.timeout is None


def test_a_null_is_as_left_out() -> None:
    call = lifted("rkllm.run", {"prompt": "Hello", "session": None}, timeout_ms=7)
    assert call.params == {"prompt": "Hello"}
    assert call.members.given == {"timeout_ms": 7}


def test_one_that_stands_in_both_places_is_refused() -> None:
    with pytest.raises(InvalidParams, match=r'^timeout_ms is given twice, in params and beside "method"\.$') as caught:
        lifted("rkllm.run", {"prompt": "Hello", "timeout_ms": 5}, timeout_ms=5)
    assert caught.value.data == {"path": "$.timeout_ms", "keyword": "uniqueItems"}


@pytest.mark.parametrize("params", [[{"prompt": "Hello"}], {"prompt": "Hello"}, {}])
def test_a_request_without_any_is_left_as_it_is(params: Any) -> None:
    call = lifted("rkllm.run", params)
    assert call.params is params
    assert call.members is NO_MEMBERS
