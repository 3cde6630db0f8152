"""The members beside "method": what each means, what is refused and in which words, and that a fault waits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rkllmd.errors import InvalidParams
from rkllmd.wire.members import MAX_FDS, MEMBERS, MOST_MS, NO_MEMBERS, Members, parse


def test_a_request_without_members_costs_nothing() -> None:
    assert parse({}) is NO_MEMBERS
    assert Members(0, False, "normal", None, None, None, None, None, None, {}, {}) == NO_MEMBERS


def test_what_each_means() -> None:
    given = {
        "fds": 2,
        "reply_fds": True,
        "priority": "low",
        "session": "kitchen",
        "stream": "final",
        "timeout_ms": 1500,
        "first_token_timeout_ms": 250,
        "wait_timeout_ms": MOST_MS,
        "run_timeout_ms": 4000,
        "comment": {"nobody": "knows"},
    }
    members = parse(given)
    members.check(*MEMBERS)
    assert members == Members(2, True, "low", "kitchen", "final", 1.5, 0.25, MOST_MS / 1000, 4.0, given, {})


@pytest.mark.parametrize(
    "name", ["session", "timeout_ms", "first_token_timeout_ms", "wait_timeout_ms", "run_timeout_ms", "reply_fds"]
)
def test_null_is_as_left_out(name: str) -> None:
    members = parse({name: None})
    members.check(name)
    assert replace(members, given={}) == NO_MEMBERS


@pytest.mark.parametrize(
    ("name", "value", "words", "keyword"),
    [
        ("fds", -1, f"must be a number from 0 to {MAX_FDS}", "maximum"),
        ("fds", MAX_FDS + 1, f"must be a number from 0 to {MAX_FDS}", "maximum"),
        ("fds", True, f"must be a number from 0 to {MAX_FDS}", "maximum"),
        ("fds", None, f"must be a number from 0 to {MAX_FDS}", "maximum"),
        ("reply_fds", 1, "must be true or false, and only a request outside a batch may have it", "type"),
        ("reply_fds", "yes", "must be true or false, and only a request outside a batch may have it", "type"),
        ("priority", "urgent", "must be one of high, normal, low", "enum"),
        ("priority", None, "must be one of high, normal, low", "enum"),
        ("priority", [], "must be one of high, normal, low", "enum"),
        ("session", "", "must be a name of 1 to 100 letters", "pattern"),
        ("session", ".hidden", "must be a name of 1 to 100 letters", "pattern"),
        ("session", 7, "must be a name of 1 to 100 letters", "pattern"),
        ("stream", "all", "must be partial, final or notify", "enum"),
        ("stream", {}, "must be partial, final or notify", "enum"),
        ("timeout_ms", 0, "must be a whole number of milliseconds", "minimum"),
        ("timeout_ms", 1.5, "must be a whole number of milliseconds", "minimum"),
        ("wait_timeout_ms", True, "must be a whole number of milliseconds", "minimum"),
        ("first_token_timeout_ms", MOST_MS + 1, "must be a whole number of milliseconds", "maximum"),
    ],
)
def test_a_fault_waits_until_somebody_asks_for_its_member(name: str, value: Any, words: str, keyword: str) -> None:
    members = parse({name: value})
    members.check(*MEMBERS - {name})
    assert replace(members, given={}, faults={}) == NO_MEMBERS, "it has its default meanwhile"
    with pytest.raises(InvalidParams, match=f'^The member "{name}" {words}') as refused:
        members.check(name)
    assert (refused.value.data["member"], refused.value.data["keyword"]) == (name, keyword)


def test_faults_come_in_the_order_in_which_they_are_asked_for() -> None:
    members = parse({"timeout_ms": 0, "wait_timeout_ms": 0})
    with pytest.raises(InvalidParams, match="wait_timeout_ms"):
        members.check("wait_timeout_ms", "timeout_ms")
    with pytest.raises(InvalidParams, match='"timeout_ms"'):
        members.check("timeout_ms", "wait_timeout_ms")
