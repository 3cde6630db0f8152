"""Pictures by their addresses, where the gateway may fetch them: few bytes, little time, and no way into this network.

Whoever may ask the gateway could otherwise let it ask machines that only it reaches. So each address that a name stands
for is looked at before it is connected to, and again after each redirection.
"""

from __future__ import annotations

import contextlib
import ipaddress
import ssl
from enum import Enum
from typing import Final
from urllib.parse import SplitResult, urljoin, urlsplit

import h11
import trio

from rkllmd.gateway.pictures.decoding import PictureError

_MOST_BYTES: Final = 16 * 1024 * 1024
_MOST_REDIRECTIONS: Final = 3
_SECONDS: Final = 15
_PORTS: Final = {"http": 80, "https": 443}
_REDIRECTIONS: Final = (301, 302, 303, 307, 308)
_CHUNK: Final = 65536
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
# All that has been given to the internet. Python takes some of the rest for global: site-local addresses (fec0::/10),
# and those that once stood for ones of IPv4 (::/96).
_GLOBAL: Final = ipaddress.IPv6Network("2000::/3")


class Reach(Enum):
    """From where pictures may be fetched."""

    PUBLIC = "public"
    ANY = "any"


async def fetch(address: str, reach: Reach | None) -> bytes:
    """Return what is at an http(s) address. Raises PictureError."""
    if reach is None:
        raise PictureError("is an address, and this gateway fetches nothing: send the picture as a data URL.")
    with trio.move_on_after(_SECONDS):
        for _ in range(_MOST_REDIRECTIONS + 1):
            found = await _get(address, reach)
            if isinstance(found, bytes):
                return found
            address = urljoin(address, found)
        raise PictureError(f"is redirected more than {_MOST_REDIRECTIONS} times.")
    raise PictureError(f"could not be fetched within {_SECONDS} s.")


async def _get(address: str, reach: Reach) -> bytes | str:
    """Return what is there, or to where it is redirected."""
    try:
        parts = urlsplit(address)
        port = parts.port or _PORTS[parts.scheme]
    except (ValueError, KeyError):
        raise PictureError("is no http(s) address.") from None
    if not parts.hostname or parts.username is not None:
        raise PictureError("must be an address of a host, without a user.")
    try:
        stream = await _connect(parts, port, reach)
        try:
            return await _ask(stream, parts)
        finally:
            await trio.aclose_forcefully(stream)
    except (OSError, ValueError, trio.BrokenResourceError, h11.ProtocolError):  # ValueError: a name that is none
        raise PictureError("could not be fetched: its host can't be reached, or does not speak HTTP.") from None


async def _connect(parts: SplitResult, port: int, reach: Reach) -> trio.abc.Stream:
    assert parts.hostname is not None
    found = await trio.socket.getaddrinfo(parts.hostname, port, type=trio.socket.SOCK_STREAM)
    hosts = [str(item[4][0]) for item in found]
    if reach is not Reach.ANY and not all(map(is_public, hosts)):
        raise PictureError("is at an address within a network, from which this gateway fetches nothing.")
    stream: trio.abc.Stream = await _first(hosts, port)
    if parts.scheme == "http":
        return stream
    return trio.SSLStream(stream, ssl.create_default_context(), server_hostname=parts.hostname, https_compatible=True)


async def _first(hosts: list[str], port: int) -> trio.abc.Stream:
    """Return a connection to the first address that can be had. Raises OSError."""
    *others, last = hosts
    for host in others:
        with contextlib.suppress(OSError):
            return await trio.open_tcp_stream(host, port)
    return await trio.open_tcp_stream(last, port)


def is_public(host: str) -> bool:
    """Return whether an IP address is one of the internet at large."""
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:  # it leads to one of IPv4
            return is_public(str(inner))
        if address not in _GLOBAL:
            return False
    return address.is_global and not address.is_multicast


async def _ask(stream: trio.abc.Stream, parts: SplitResult) -> bytes | str:
    connection = h11.Connection(h11.CLIENT)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    headers = [("host", parts.netloc), ("accept", "image/*"), ("user-agent", "rkllmd"), ("connection", "close")]
    request = h11.Request(method="GET", target=target, headers=headers)
    await stream.send_all(connection.send(request) + connection.send(h11.EndOfMessage()))
    body = bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(bytes(await stream.receive_some(_CHUNK)))
        elif isinstance(event, h11.Response):
            location = dict(event.headers).get(b"location")
            if event.status_code in _REDIRECTIONS and location is not None:
                return bytes(location).decode("latin-1")
            if event.status_code != 200:
                raise PictureError(f"could not be fetched: its host answers {event.status_code}.")
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > _MOST_BYTES:
                raise PictureError(f"has more than {_MOST_BYTES} bytes.")
        elif isinstance(event, h11.EndOfMessage):
            return bytes(body)
        elif isinstance(event, h11.ConnectionClosed):
            raise PictureError("could not be fetched: its host has hung up.")
