"""Words go from the daemon to a client by a short way, and a client does not see that it is one."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import orjson
import pytest
import trio

from rkllmd.gateway.anthropic.messages import MESSAGES
from rkllmd.gateway.openai.chat import CHAT
from rkllmd.gateway.openai.responses import RESPONSES
from rkllmd.gateway.run import Protocol
from rkllmd.gateway.upstream.upstream import Upstream
from rkllmd.gateway.web import runs
from rkllmd.gateway.web.bounds.connections import LoneServer
from rkllmd.gateway.web.runs import RunEndpoint
from tests.daemon import Start
from tests.gateway.chunks import joined
from tests.gateway.statuses import TWO
from tests.gateway.upstream.scripted import Script, ScriptedDaemon, daemon
from tests.gateway.web.bounds.hypercorn_server import serving

HELLO = {"model": "demo", "messages": [{"role": "user", "content": "Hello"}], "stream": True}
END = b"0\r\n\r\n"
TOKENS = 300


def words(text: str, seq: int = 0, **more: Any) -> dict[str, Any]:
    return {"text": text, **more, "token_id": 7, "_callback_state": 0, "seq": seq}


def request(asked: dict[str, Any]) -> bytes:
    body = orjson.dumps(asked)
    return b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


FINAL = {"text": "", "token_id": 0, "_callback_state": 2, "seq": 9, "finish_reason": "stop"}


class Conversation:
    """A client of one stream, with what it has ``received`` of it, and the daemon that it is from."""

    def __init__(self, scripted: ScriptedDaemon, stream: trio.SocketStream) -> None:
        self.scripted = scripted
        self.stream = stream
        self.received = b""

    async def until(self, seen: bytes) -> None:
        """Receive until this is there."""
        while seen not in self.received:
            more = await self.stream.receive_some()
            assert more, self.received
            self.received += more

    async def say(self, **result: Any) -> None:
        """Let the daemon send a result."""
        await self.scripted.say(result=result)

    @property
    def deltas(self) -> list[Any]:
        """Return what came, without its framing and the end; comments as they are."""
        body = joined(self.received.partition(b"\r\n\r\n")[2])
        events = [event for event in body.decode().split("\n\n") if event.startswith("data: {")]
        return [orjson.loads(event.removeprefix("data: "))["choices"][0]["delta"] for event in events]


@asynccontextmanager
async def asking(folder: Path, protocol: Protocol, body: dict[str, Any], script: Script) -> AsyncIterator[Conversation]:
    """Ask, and yield the client."""
    with trio.fail_after(60):
        async with daemon(folder, script) as (scripted, upstream), serving(RunEndpoint(upstream, protocol)) as port:
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                await stream.send_all(request(body))
                yield Conversation(scripted, stream)


@asynccontextmanager
async def conversation(folder: Path) -> AsyncIterator[Conversation]:
    """Ask, and yield the client when it has received words twice: what follows goes the short way."""

    def script(asked: dict[str, Any]) -> list[dict[str, Any]]:
        return [{"result": TWO}] if asked["method"] == "server.status" else [{"result": words("first")}]

    async with asking(folder, CHAT, HELLO, script) as found:
        await found.until(b'"first"')
        await found.say(**words("second", 1))
        await found.until(b'"second"')
        yield found


async def test_what_goes_another_way_comes_in_its_place(tmp_path: Path) -> None:
    async with conversation(tmp_path) as found:
        await found.say(**words("a"))
        await found.until(b'"a"')
        for number in range(3):
            await found.say(**words("", reasoning=f"b{number}"))
            await found.say(**words(f"c{number}", more="x"))
        await found.say(**words("d"))
        await found.say(**FINAL)
        await found.until(END)
    between = [({"reasoning_content": f"b{number}"}, {"content": f"c{number}"}) for number in range(3)]
    said = [{"content": text} for text in ("first", "second", "a")]
    assert found.deltas == [{"role": "assistant", "content": ""}, *said, *chain(*between), {"content": "d"}, {}]


async def test_a_client_is_told_in_pauses_that_it_is_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "_KEEP_ALIVE_SECONDS", 0.05)
    async with conversation(tmp_path) as found:
        await found.until(b"\r\n: generating\n\n\r\n")
        await found.say(**words("a"))
        await found.until(b'"a"')
        await found.say(**FINAL)
        await found.until(END)
    assert [delta.get("content") for delta in found.deltas] == ["", "first", "second", "a", None]


async def test_who_hangs_up_meanwhile_ends_the_run(tmp_path: Path) -> None:
    async with conversation(tmp_path) as found:
        await found.stream.aclose()
        await found.scripted.somebody_left.wait()


async def test_a_daemon_that_is_gone_meanwhile_is_told(tmp_path: Path) -> None:
    async with conversation(tmp_path) as found:
        found.scripted.end()
        await found.until(END)
    assert b'"error"' in found.received


async def test_words_that_are_not_shown_never_leave_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread for each of them would cost more than the turn that it saves."""

    async def never(*_: Any) -> None:
        raise AssertionError("nothing can be passed on")

    def think(asked: dict[str, Any]) -> list[dict[str, Any]]:
        return [{"result": TWO}] if asked["method"] == "server.status" else [{"result": words("", reasoning="a")}]

    monkeypatch.setattr(LoneServer, "pass_on", never)
    monkeypatch.setattr(runs, "_KEEP_ALIVE_SECONDS", 0.05)
    hidden = {**HELLO, "max_tokens": 9, "thinking": {"type": "adaptive", "display": "omitted"}}
    async with asking(tmp_path, MESSAGES, hidden, think) as found:
        await found.until(b"ping")
        await found.say(**FINAL)
        await found.until(END)
    assert b"message_stop" in found.received


class Turns(trio.abc.Instrument):
    """Counts the turns of the event loop."""

    count = 0

    def before_io_wait(self, timeout: float) -> None:
        """Count one."""
        self.count += 1


@pytest.mark.parametrize(
    ("protocol", "asked", "shown"),
    [
        (CHAT, HELLO, {b'"content":"a"': TOKENS}),
        (
            RESPONSES,
            {"input": "Hello", "stream": True},
            {b'"delta":"a"': TOKENS, b'"text":"%b"' % (b"a" * TOKENS): 4, b'"sequence_number":%d,' % (TOKENS + 7): 1},
        ),
    ],
    ids=["chat completions", "responses"],
)
async def test_the_event_loop_sleeps_while_tokens_come(
    start: Start, protocol: Protocol, asked: dict[str, Any], shown: dict[bytes, int]
) -> None:
    running = start(scenario={"text": "a", "repeat": TOKENS, "pace_us": 2000})
    running.load(max_new_tokens=0)
    turns = Turns()

    def ask(port: int) -> bytes:
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(request({**asked, "model": "model"}))
            received = b""
            while not received.endswith(END):
                received += client.recv(65_536)
            return received

    trio.lowlevel.add_instrument(turns)
    upstream = Upstream(running.path)
    async with serving(RunEndpoint(upstream, protocol)) as port:
        received = await trio.to_thread.run_sync(ask, port)
    upstream.close()
    assert {part: received.count(part) for part in shown} == shown
    assert turns.count < TOKENS / 5
