"""Who looks once a second does so in the same turn of the loop as all others."""

from __future__ import annotations

import trio
import trio.testing

from rkllmd.rhythm import next_second


async def test_all_wake_at_the_same_whole_seconds(autojump_clock: trio.testing.MockClock) -> None:
    woke: list[float] = []

    async def wake_twice() -> None:
        for _ in range(2):
            await next_second()
            woke.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wake_twice)
        await trio.sleep(0.3)
        nursery.start_soon(wake_twice)
    assert woke == [1, 1, 2, 2]
