"""Balancers are answered at once, whatever they send, and cost the daemon little."""

from __future__ import annotations

import trio
from trio import testing

from rkllmd.gateway.boards.agent import Agent, listen
from rkllmd.gateway.failures import Failure
from rkllmd.json_types import Json
from tests.gateway.statuses import IDLE


class Daemon:
    """Answers as a daemon would, whose queue has one call more each time; none if it is gone."""

    def __init__(self) -> None:
        self.asked = 0
        self.is_gone = False

    async def ask(self, *methods: str) -> list[Json]:
        """Answer the agent's questions. Raises Failure."""
        assert methods == ("server.status", "server.queue", "server.metrics")
        if self.is_gone:
            raise Failure(503, "Restarting", "The NPU daemon can't be reached: see that it runs.", again=True)
        self.asked += 1
        return [IDLE, {"limit": 256, "length": self.asked - 1}, {"families": []}]


async def told(agent: Agent) -> str:
    """Return what a balancer is told, up to the end that the agent makes."""
    ours, theirs = testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(agent.answer, theirs)
        return b"".join([chunk async for chunk in ours]).decode()


async def test_the_daemon_is_asked_four_times_a_second_at_most(autojump_clock: testing.MockClock) -> None:
    daemon = Daemon()
    agent = Agent(daemon.ask)
    assert [await told(agent) for _ in range(3)] == ["up 100%\n"] * 3
    await trio.sleep(0.25)
    assert await told(agent) == "up 50%\n"
    assert daemon.asked == 2


async def test_without_a_daemon_the_board_is_down_and_comes_back(autojump_clock: testing.MockClock) -> None:
    daemon = Daemon()
    agent = Agent(daemon.ask)
    daemon.is_gone = True
    assert await told(agent) == "down #Restarting\n"
    daemon.is_gone = False
    await trio.sleep(0.25)
    assert await told(agent) == "up 100%\n"


async def test_a_gateway_that_ends_is_taken_out() -> None:
    agent = Agent(Daemon().ask)
    agent.end()
    assert await told(agent) == "stopped #the gateway ends\n"


async def test_who_does_not_read_is_dropped(autojump_clock: testing.MockClock) -> None:
    ours, theirs = testing.lockstep_stream_pair()
    await Agent(Daemon().ask).answer(theirs)
    assert trio.current_time() == 3
    with trio.fail_after(1):
        assert await ours.receive_some() in (b"", b"up 100%\n")


async def test_it_listens_where_it_is_told() -> None:
    [listener] = await listen(["[::1]:0"])
    async with listener:
        assert listener.socket.getsockname()[0] == "::1"
