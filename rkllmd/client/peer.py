"""Who serves the socket, before anything is said to them.

Whoever may make files in the socket's folder may put a socket of their own there, and in /tmp everybody may. The kernel
knows who has made the one that was connected to (SO_PEERCRED, unix(7)). libpq's ``requirepeer`` is the example.
"""

from __future__ import annotations

import errno
import os
import pwd
from typing import Final

from rkllmd.client.errors import ConnectError, PeerNotTrusted
from rkllmd.wire.credentials import Connected, credentials_of

# Whom the service runs as (systemd/rkllmd.sysusers). Its socket is root's, who has made it; a daemon that has made its
# own socket is this user, or whoever has started it.
SERVICE_USER: Final = "rkllm"
# What the kernel says of a socket that is not connected.
_NOBODY: Final = -1


def default_requirepeer() -> str | None:
    """Return whom RKLLM_REQUIREPEER names, None where it is not set."""
    return os.environ.get("RKLLM_REQUIREPEER")


def check(connected: Connected, path: str, requirepeer: str | int | None) -> None:
    """Raise PeerNotTrusted unless the socket is that of ``requirepeer``: a user's name or uid.

    None: root's, the service's or one's own, or that of the user whom RKLLM_REQUIREPEER names; an empty name:
    anybody's. Raises ConnectError where the socket is not connected: too many others wait to be accepted.
    """
    pid, uid, _ = credentials_of(connected)
    if uid == _NOBODY:
        raise ConnectError(errno.EAGAIN, "too many wait to be accepted", path)
    wanted = default_requirepeer() if requirepeer is None else requirepeer
    if wanted == "" or is_trusted(uid, wanted):
        return
    raise PeerNotTrusted(errno.EPERM, _reason(pid, uid, wanted), path)


def is_trusted(uid: int, wanted: str | int | None) -> bool:
    """Return whether this uid is the one that is wanted; None: root's, the service's or one's own."""
    if wanted is None:
        return uid in (0, os.geteuid()) or uid == _uid(SERVICE_USER)
    if isinstance(wanted, int):
        return uid == wanted
    return uid == (int(wanted) if wanted.isdecimal() else _uid(wanted))


def _uid(name: str) -> int | None:
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return None


def _reason(pid: int, uid: int, wanted: str | int | None) -> str:
    """Return who it is, who it should be, and how it is allowed, as the end of a sentence."""
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = str(uid)
    process = f", process {pid}" if pid else ""
    expected = f"that is neither root, {SERVICE_USER} nor you" if wanted is None else f"it should be {wanted}"
    return f"{user} (uid {uid}{process}) serves it, and {expected}; if it is right, say so with requirepeer {user}"
