"""Pictures by their addresses, from a server of the test's own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import trio

from rkllmd.gateway.pictures import fetching
from rkllmd.gateway.pictures.decoding import PictureError
from rkllmd.gateway.pictures.fetching import Reach, fetch, is_public

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc"


async def served(nursery: trio.Nursery, answer: Callable[[bytes], bytes]) -> str:
    """Serve; return the address."""

    async def serve(stream: trio.SocketStream) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            request += await stream.receive_some()
        await stream.send_all(answer(request))

    (listener,) = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
    return f"http://127.0.0.1:{listener.socket.getsockname()[1]}/a.png?b=c"


async def test_what_is_there_is_fetched_also_behind_a_redirection(nursery: trio.Nursery) -> None:
    requests = []

    def answer(request: bytes) -> bytes:
        requests.append(request.split()[1])
        return OK if b"/b.png" in request else b"HTTP/1.1 302 Found\r\nlocation: /b.png\r\ncontent-length: 0\r\n\r\n"

    assert await fetch(await served(nursery, answer), Reach.ANY) == b"abc"
    assert requests == [b"/a.png?b=c", b"/b.png"]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", "answers 404"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc", "does not speak HTTP"),
        (b"SSH-2.0\r\n\r\n", "does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n" + b"a" * 99, "more than 64 bytes"),
        (b"HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\n\r\n", "redirected more than"),
        (b"HTTP/1.1 302 Found\r\nlocation: file:///etc/passwd\r\ncontent-length: 0\r\n\r\n", "no http"),
    ],
)
async def test_what_is_no_picture_says_why(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch, answer: bytes, said: str
) -> None:
    monkeypatch.setattr(fetching, "_MOST_BYTES", 64)
    address = await served(nursery, lambda _: answer)
    with pytest.raises(PictureError, match=said):
        await fetch(address, Reach.ANY)


async def test_nothing_within_a_network_is_asked_unless_that_is_wanted(nursery: trio.Nursery) -> None:
    requests: list[bytes] = []

    def answer(request: bytes) -> bytes:
        requests.append(request)
        return OK

    address = await served(nursery, answer)
    for reach, said in ((None, "fetches nothing"), (Reach.PUBLIC, "within a network")):
        for place in ("127.0.0.1", "localhost"):
            with pytest.raises(PictureError, match=said):
                await fetch(address.replace("127.0.0.1", place), reach)
    assert requests == []


@pytest.mark.parametrize("address", ["http://user@example.org/", "http:///a", "https://[::1", "http://a:99999/"])
async def test_what_is_no_address_of_a_host_is_refused(address: str) -> None:
    with pytest.raises(PictureError):
        await fetch(address, Reach.ANY)


async def test_a_silent_host_is_given_up(autojump_clock: object, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: object) -> bytes:
        await trio.sleep_forever()
        raise AssertionError

    monkeypatch.setattr(fetching, "_get", never)
    with pytest.raises(PictureError, match="within 15 s"):
        await fetch("http://example.org/", Reach.ANY)


@pytest.mark.parametrize(
    ("host", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("192.168.0.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.251", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:127.0.0.1", False),
        ("2002:7f00:1::", False),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::8.8.8.8", True),
        ("64:ff9b:1::8.8.8.8", False),
        ("::127.0.0.1", False),
        ("::8.8.8.8", False),
        ("fec0::1", False),
        ("2001::7f00:1", False),
    ],
)
def test_which_addresses_are_public(host: str, public: bool) -> None:
    assert is_public(host) is public
