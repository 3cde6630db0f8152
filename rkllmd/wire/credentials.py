"""Who is at the other end of a socket, as the kernel knows it, and in which groups."""

from __future__ import annotations

import os
import pwd
import socket
import struct
from typing import Final, NamedTuple, Protocol

_CREDENTIALS: Final = "3i"  # struct ucred
_SO_PEERGROUPS: Final = 59  # asm-generic/socket.h
_GROUPS_BYTES: Final = 1024  # the most that socket.getsockopt takes


class Credentials(NamedTuple):
    """The process at the other end of a socket, as the kernel knows it."""

    # 0: in a container whose processes are not seen here.
    pid: int
    uid: int
    gid: int


class Connected(Protocol):
    """A socket, the standard library's or trio's."""

    def getsockopt(self, level: int, option: int, buflen: int, /) -> bytes:
        """Return the option's value."""
        ...


def credentials_of(connected: Connected) -> Credentials:
    """Return who has made the other end, or listens there (SO_PEERCRED, unix(7)). Raises OSError."""
    raw = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize(_CREDENTIALS))
    return Credentials._make(struct.unpack(_CREDENTIALS, raw))


def groups_of(connected: Connected, peer: Credentials) -> frozenset[int]:
    """Return the gids of the process at the other end when it connected (SO_PEERGROUPS)."""
    try:
        raw = connected.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _GROUPS_BYTES)
    except OSError:  # more groups than Python reads, or a kernel before 4.13
        return groups_of_user(peer.uid) | {peer.gid}
    return frozenset({peer.gid, *(gid for (gid,) in struct.iter_unpack("I", raw))})


def groups_of_user(uid: int | None) -> frozenset[int]:
    """Return the gids that the system's database gives a user; none if it does not know the user."""
    try:
        entry = pwd.getpwuid(-1 if uid is None else uid)
    except (KeyError, OverflowError):
        return frozenset()
    return frozenset(os.getgrouplist(entry.pw_name, entry.pw_gid))
