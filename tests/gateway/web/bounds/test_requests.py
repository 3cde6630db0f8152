"""Requests hold no more memory together than there is for them, and give it back."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from starlette.responses import Response

from rkllmd.gateway.failures import Failure
from rkllmd.gateway.web import body
from rkllmd.gateway.web.bounds.memory import Memory
from rkllmd.gateway.web.bounds.requests import BoundedRequests
from tests.gateway.web.asking import Client


async def asked(account: Memory, size: int) -> None:
    """Ask with a text of ``size`` bytes while the account is as it is; it is given back whatever comes of it."""

    async def reads(scope: Any, receive: Any, send: Any) -> None:
        await body.read_json(scope, receive)
        assert account.held > before

    before = account.held
    try:
        await Client(BoundedRequests(reads, account), "x" * size).ask()
    finally:
        assert account.held == before


async def test_a_body_is_held_while_its_request_is_served() -> None:
    account = Memory(9_000, 6_000)
    await asked(account, 1_900)
    with pytest.raises(Failure, match="too many values") as refused:
        await asked(account, 2_100)
    assert (refused.value.status, refused.value.again) == (413, False)
    assert account.take(4_000)
    with pytest.raises(Failure, match="come again") as refused:
        await asked(account, 1_900)
    assert (refused.value.status, refused.value.headers["retry-after"]) == (503, "1")


async def test_what_nobody_has_read_makes_room_for_the_end_of_the_answer() -> None:
    give, take = trio.open_memory_channel[Any](1)
    give.send_nowait({"type": "http.request", "body": b"x", "more_body": True})

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            await give.send({"type": "http.disconnect"})  # as Hypercorn does

    with trio.fail_after(60):
        await BoundedRequests(Response(b"no", 413))({"type": "http", "headers": []}, take.receive, send)
