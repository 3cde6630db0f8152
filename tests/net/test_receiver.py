"""Which connection learns that something has arrived, and when nobody sleeps for it."""

from __future__ import annotations

import os
import socket as stdlib_socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from rkllmd.net import receiver
from rkllmd.net.receiver import Receiver


class Client:
    """A connected client, and what has been received from it."""

    def __init__(self) -> None:
        self.ours, self.theirs = stdlib_socket.socketpair()
        self.theirs.setblocking(False)
        self.received: list[bytes] = []
        self.goes_on = True
        self.on_received: Callable[[], object] = lambda: None

    def receive(self) -> bool:
        """Take what has arrived."""
        self.received.append(self.theirs.recv(100))
        self.on_received()
        return self.goes_on


@pytest.fixture
def clients() -> Iterator[list[Client]]:
    """Give three clients."""
    three = [Client() for _ in range(3)]
    yield three
    for client in three:
        client.ours.close()
        client.theirs.close()


async def settled() -> None:
    """Wait until nothing is to be done any more."""
    with trio.fail_after(120):
        await wait_all_tasks_blocked(0.01)


async def ask_until(done: trio.Event, client: Client, receiving: Receiver) -> None:
    """Let the client ask once, and wait for what follows from that."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(receiving.run)
        with receiving.receiving(client.theirs, client.receive), trio.fail_after(120):
            client.ours.send(b"x")
            await done.wait()
        nursery.cancel_scope.cancel()


async def test_whoever_has_said_something_is_received_from(clients: list[Client]) -> None:
    receiving = Receiver(lambda: True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(receiving.run)
        with ExitStack() as stack:
            for client in clients:
                stack.enter_context(receiving.receiving(client.theirs, client.receive))
            await settled()
            clients[0].ours.send(b"a")
            clients[2].ours.send(b"b")
            await settled()
            clients[2].ours.send(b"c")
            await settled()
        nursery.cancel_scope.cancel()
    assert [client.received for client in clients] == [[b"a"], [], [b"b", b"c"]]


async def test_nothing_is_received_from_one_that_has_enough_to_do(clients: list[Client]) -> None:
    receiving = Receiver(lambda: True)
    busy, other, _ = clients
    busy.goes_on = False
    async with trio.open_nursery() as nursery:
        nursery.start_soon(receiving.run)
        with receiving.receiving(other.theirs, other.receive):
            with receiving.receiving(busy.theirs, busy.receive):
                for letter in (b"a", b"b"):
                    busy.ours.send(letter)
                    other.ours.send(letter)
                    await settled()
            assert (busy.received, other.received) == ([b"a"], [b"a", b"b"])
            with receiving.receiving(busy.theirs, busy.receive):
                await settled()
            assert busy.received == [b"a", b"b"], "it has waited"
        nursery.cancel_scope.cancel()


async def test_who_has_enough_to_do_begins_when_all_have_been_received_from(clients: list[Client]) -> None:
    receiving = Receiver(lambda: True)
    had: list[int] = []
    busy, *others = clients
    busy.goes_on = False

    async def work() -> None:
        with receiving.receiving(busy.theirs, busy.receive) as left_alone:
            await left_alone.park()
            had.extend(len(other.received) for other in others)

    with ExitStack() as stack:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(work)
            await settled()
            for client in clients:
                client.ours.send(b"a")
            for other in others:
                stack.enter_context(receiving.receiving(other.theirs, other.receive))
            nursery.start_soon(receiving.run)
            await settled()
            nursery.cancel_scope.cancel()
    assert had == [1, 1]


async def test_one_that_left_while_others_were_received_from_is_not_asked(clients: list[Client]) -> None:
    """Two sockets are ready at once, and handling the first ends the other's connection."""
    receiving = Receiver(lambda: True)
    with ExitStack() as stack:
        leaving = {
            client: stack.enter_context(ExitStack())  # each may leave by itself
            for client in clients[:2]
        }
        for client, other in (clients[:2], clients[1::-1]):
            leaving[client].enter_context(receiving.receiving(client.theirs, client.receive))
            client.on_received = leaving[other].close
            client.ours.send(b"x")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receiving.run)
            await settled()
            nursery.cancel_scope.cancel()
    assert sorted(client.received for client in clients[:2]) == [[], [b"x"]]


async def test_what_is_put_off_comes_after_the_requests_that_have_arrived(clients: list[Client]) -> None:
    receiving = Receiver(lambda: True)
    order: list[str] = []
    receiving.when_handled(lambda: order.append("nothing to wait for"))

    def on_received() -> None:
        order.append("request")
        receiving.when_handled(lambda: order.append("put off"))

    clients[0].on_received = clients[1].on_received = on_received
    with ExitStack() as stack:
        for client in clients[:2]:
            stack.enter_context(receiving.receiving(client.theirs, client.receive))
            client.ours.send(b"x")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receiving.run)
            await settled()
            receiving.when_handled(lambda: order.append("nothing to wait for"))
            nursery.cancel_scope.cancel()
    once = "nothing to wait for"
    assert order == [once, "request", "request", "put off", "put off", once]


async def test_nothing_is_put_off_for_long(clients: list[Client], monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients that ask without a pause do not keep the NPU from its work."""
    monkeypatch.setattr(receiver, "_POSTPONE_SECONDS", -1)
    receiving = Receiver(lambda: True)
    client, requests = clients[0], 10
    done = trio.Event()
    at: list[int] = []

    def on_received() -> None:
        if len(client.received) == 1:
            receiving.when_handled(lambda: at.append(len(client.received)))
        client.ours.send(b"x")
        if len(client.received) == requests:
            client.goes_on = False
            done.set()

    client.on_received = on_received
    await ask_until(done, client, receiving)
    assert at == [1]


@pytest.mark.parametrize(
    ("cores", "may_poll", "polls"),
    [({0, 1}, True, True), ({0}, True, False), ({0, 1}, False, False)],
    ids=["alone", "on-one-core", "beside-the-npu"],
)
async def test_a_client_that_asks_at_once_is_waited_for_without_sleeping(
    clients: list[Client], monkeypatch: pytest.MonkeyPatch, cores: set[int], may_poll: bool, polls: bool
) -> None:
    """But not where that keeps others from their work: the client on the only core, or a thread of the NPU."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: cores)
    monkeypatch.setattr(receiver, "_BUSY_SECONDS", 1000)  # so that it is always at once
    sleeps = 0
    sleep = trio.lowlevel.wait_readable

    async def count(fd: int) -> None:
        nonlocal sleeps
        sleeps += 1
        await sleep(fd)

    monkeypatch.setattr(trio.lowlevel, "wait_readable", count)
    client, requests = clients[0], 50
    receiving = Receiver(lambda: may_poll)
    done = trio.Event()

    def on_received() -> None:
        if len(client.received) < requests:
            client.ours.send(b"x")
        else:
            monkeypatch.setattr(receiver, "_BUSY_SECONDS", 0)
            done.set()

    client.on_received = on_received
    # Not readable by the time of the next look: what a client sends at once comes a little later.
    looks = 0
    epoll = receiving._epoll

    class Late:
        """An epoll set whose every other look comes too early."""

        def __getattr__(self, name: str) -> object:
            return getattr(epoll, name)

        def poll(self, *arguments: int) -> list[tuple[int, int]]:
            nonlocal looks
            looks += 1
            return epoll.poll(*arguments) if looks % 2 else []

    monkeypatch.setattr(receiving, "_epoll", Late())
    await ask_until(done, client, receiving)
    assert (sleeps < 5) == polls, sleeps
