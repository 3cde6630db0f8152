"""Accepting connections: users take turns, descriptors may run out, and the socket may have to be bound again."""

from __future__ import annotations

import contextlib
import errno
import socket as stdlib_socket
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Final

import structlog
import trio

from rkllmd import open_files
from rkllmd.errors import QueueFull
from rkllmd.net.listening.listener import Listener, ListenError
from rkllmd.net.listening.lobby import Lobby
from rkllmd.rhythm import next_second
from rkllmd.wire import closing, jsonrpc
from rkllmd.wire.credentials import credentials_of

log = structlog.get_logger()

# One client is served in each round of the event loop, so that clients are served in the order in which they came.
# With many busy clients a round takes half a millisecond for each of them: so after this many new clients in a row,
# several are served at once, which takes well under a millisecond; but not to a user that has far too many.
_IN_ORDER: Final = 16
_SERVED_AT_ONCE: Final = 8
# This many are taken from the kernel in each round, at 15 µs for one that is not served. They have to be taken
# faster than somebody can connect: with a full backlog, others could not connect at all.
_TAKEN_AT_ONCE: Final = 512
_RETRY_MS: Final = 1000
# When descriptors have run out, accept again after this long, as trio.serve_listeners does.
_RETRY_SECONDS: Final = 0.1
_OUT_OF_RESOURCES: Final = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}


async def accept(listener: Listener, serve: Callable[[stdlib_socket.socket], None], most_connections: int = 0) -> None:
    """Accept connections until cancelled; each is given, non-blocking, to ``serve``, which must not raise.

    Users take turns. Of one user only so many wait as may be connected, the others are refused.
    """
    lobby: Lobby[stdlib_socket.socket] = Lobby(most_connections)
    try:
        await _accept(listener, lobby, serve)
    finally:  # who was taken from the kernel is answered
        while lobby:
            serve(lobby.next())


async def _accept(
    listener: Listener, lobby: Lobby[stdlib_socket.socket], serve: Callable[[stdlib_socket.socket], None]
) -> None:
    short_of_resources = False
    in_a_row = 0
    while True:
        socket = listener.socket  # the first one, or a new one (``keep_bound``)
        socket.setblocking(False)
        try:
            if lobby:
                await trio.lowlevel.checkpoint()
            else:
                in_a_row = 0
                await trio.lowlevel.wait_readable(socket)
            if _take(socket, lobby):
                short_of_resources = False
        except trio.ClosedResourceError:
            continue
        except OSError as error:
            if error.errno in _OUT_OF_RESOURCES:
                if not short_of_resources:  # one line for each shortage, not ten per second
                    log.error("accept_failed", reason=open_files.sentence(error))
                short_of_resources = True
                if not lobby:
                    await trio.sleep(_RETRY_SECONDS)
            # Otherwise the client left before it was accepted.
        at_once = 1 if in_a_row < _IN_ORDER or lobby.is_crowded else _SERVED_AT_ONCE
        for _ in range(min(len(lobby), at_once)):
            serve(lobby.next())
            in_a_row += 1


def _take(socket: stdlib_socket.socket, lobby: Lobby[stdlib_socket.socket]) -> bool:
    """Take connections from the kernel, this many at once; return whether there were any. Raises OSError."""
    refused: Counter[int] = Counter()
    refusal, count = _refusal(lobby.most_of_user), 0
    try:
        while count < _TAKEN_AT_ONCE and not lobby.is_full:
            client, _ = socket.accept()
            count += 1
            client.setblocking(False)
            user = credentials_of(client).uid
            if not lobby.has_room(user):
                refused[user] += 1
                with contextlib.suppress(OSError):
                    client.send(refusal)
                closing.close_socket(client)
            elif _has_left(client):
                closing.close_socket(client)
            else:
                lobby.add(user, client)
    except BlockingIOError:
        pass
    finally:
        for user, clients in refused.items():
            log.warning("connections_refused", uid=user, count=clients, limit=lobby.most_of_user)
    return count > 0


@cache
def _refusal(limit: int) -> bytes:
    message = f"{limit} connections of this user wait to be served: try again later."
    return jsonrpc.error_line(QueueFull(message, queued=limit, limit=limit, retry_after_ms=_RETRY_MS))


def _has_left(client: stdlib_socket.socket) -> bool:
    """Return whether a client sends nothing any more, and has sent nothing: serving it would only cost."""
    try:
        return not client.recv(1, stdlib_socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True


async def keep_bound(listener: Listener, serve: Callable[[stdlib_socket.socket], None]) -> None:
    """Bind the socket again whenever its file was removed, as by a cleaner of /tmp, until cancelled.

    It does nothing for an inherited socket, which belongs to the service manager.
    """
    said = ""
    while listener.inode is not None:
        await next_second()
        if listener.is_in_place:
            said = ""
            continue
        try:
            old = listener.bind_again()
        except ListenError as error:
            if said != str(error):  # once, not each second
                said = str(error)
                log.error("socket_gone", socket=listener.path, reason=said)
            continue
        old.setblocking(False)
        with contextlib.suppress(OSError):  # accept the clients that had found the old one; it blocks after the last
            while True:
                client, _ = old.accept()
                client.setblocking(False)
                serve(client)
        trio.lowlevel.notify_closing(old)
        old.close()
        log.warning("socket_bound_again", socket=listener.path)
