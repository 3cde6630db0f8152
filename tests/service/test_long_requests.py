"""Long requests have their turn one at a time, and so have their users."""

from __future__ import annotations

import trio
import trio.testing

from rkllmd.service.long_requests import LongRequests

ANNA, BERTA = 1, 2


async def test_one_at_a_time_and_no_user_waits_behind_many_of_another() -> None:
    turns, order = LongRequests(), []
    may_go = trio.Event()

    async def take(user: int) -> None:
        async with turns.take(user):
            order.append(user)
            await may_go.wait()
            assert order[-1] == user, "nobody else meanwhile"
            await trio.lowlevel.checkpoint()

    with trio.fail_after(120):
        async with trio.open_nursery() as nursery:
            for user in [ANNA] * 5 + [BERTA]:
                nursery.start_soon(take, user)
                await trio.testing.wait_all_tasks_blocked()
            assert order == [ANNA]
            may_go.set()
    assert order == [ANNA, BERTA] + [ANNA] * 4


async def test_a_turn_ends_with_its_client() -> None:
    turns = LongRequests()
    with trio.fail_after(120):
        with trio.CancelScope() as gone:
            async with turns.take(ANNA):
                gone.cancel()
                await trio.sleep_forever()
        async with turns.take(ANNA):
            pass
