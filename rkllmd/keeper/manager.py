"""The service manager: messages to it (sd_notify(3)), and its watchdog, which is fed as long as all is well.

A datagram of newline-separated assignments to ``$NOTIFY_SOCKET``; without it, or if it fails, nothing happens.
"""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import MutableMapping

# What could not be sent yet. Later ones say more than earlier ones.
_MOST_WAITING = 16


class Manager:
    """Sends to the socket that ``environ`` names; takes the variables out, so that children don't inherit them."""

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        address = environ.pop("NOTIFY_SOCKET", "")
        # A leading @ means the abstract namespace, which the kernel spells with a NUL.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._waiting: deque[bytes] = deque(maxlen=_MOST_WAITING)
        period, process = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
        is_for_us = period.isdecimal() and process in ("", str(os.getpid()))
        # As sd_watchdog_enabled(3) advises, half of what it waits; infinite without a watchdog.
        self.feed_seconds = int(period) / 2e6 if is_for_us and int(period) else float("inf")
        self._fed_at = float("-inf")

    def send(self, message: bytes) -> None:
        """Send assignments: at once, or when the manager takes them."""
        if self._address:
            self._waiting.append(message)
            self.send_waiting()

    def send_waiting(self) -> None:
        """Send what has not been taken yet; must not wait for a manager that does not read."""
        if not self._waiting:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
                while self._waiting:
                    datagrams.sendto(self._waiting[0], socket.MSG_DONTWAIT, self._address)
                    self._waiting.popleft()
        except BlockingIOError:
            pass
        except OSError:  # nobody is there
            self._waiting.clear()

    def feed(self, now: float) -> None:
        """Feed the watchdog if it is time."""
        if self.feed_seconds != float("inf") and now - self._fed_at >= self.feed_seconds:
            self._fed_at = now
            self.send(b"WATCHDOG=1")
