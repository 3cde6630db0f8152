"""What is noted of a request reaches who began it, and no other request."""

from __future__ import annotations

import trio

from rkllmd.gateway.access_log import record


async def test_who_serves_a_request_notes_what_becomes_of_it() -> None:
    found = []

    async def serve(tokens: int) -> None:
        found.append(record.begin())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(note, tokens)

    async def note(tokens: int) -> None:
        for _ in range(2):
            await trio.lowlevel.checkpoint()
            result = {"prompt_tokens": tokens, "cached_tokens": 1, "perf": {"generate_tokens": 3}}
            record.current().count(result)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve, 10)
        nursery.start_soon(serve, 20)
    counted = {(one.prompt_tokens, one.cached_tokens, one.generated_tokens) for one in found}
    assert counted == {(20, 2, 6), (40, 2, 6)}


def test_without_a_request_nothing_is_kept() -> None:
    record.current().model = "demo"
    assert record.current().model is None
