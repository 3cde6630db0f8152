"""Messages to the service manager: readiness, status, stopping (sd_notify(3)).

A datagram of newline-separated assignments to ``$NOTIFY_SOCKET``; without it, or if it fails, nothing happens.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import MutableMapping


class Notifier:
    """Sends to the socket that ``environ`` names, and removes that variable, so that children don't inherit it."""

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        self._address = environ.pop("NOTIFY_SOCKET", "")

    def send(self, **assignments: str | int) -> None:
        """Send assignments such as ``READY=1, STATUS="idle"``."""
        if not self._address:
            return
        # A leading @ means the abstract namespace, which the kernel spells with a NUL.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        message = "\n".join(f"{name}={value}" for name, value in assignments.items())
        payload = message.encode(errors="surrogateescape")  # a file name may be no UTF-8
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
            datagrams.sendto(payload, address)
