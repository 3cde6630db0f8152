"""Messages to the service manager: readiness, status, stopping (sd_notify(3)); by the keeper, where there is one."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import TYPE_CHECKING

from rkllmd.keeper.manager import Manager

if TYPE_CHECKING:
    from rkllmd.machine.keeper_link import KeeperLink


class Notifier:
    """Sends to the socket that ``environ`` names, or to the keeper; takes the variable out of ``environ``."""

    def __init__(self, environ: MutableMapping[str, str], keeper: KeeperLink | None = None) -> None:
        self._manager = Manager(environ)
        self._keeper = keeper

    def send(self, **assignments: str | int) -> None:
        """Send assignments such as ``READY=1, STATUS="idle"``."""
        message = "\n".join(f"{name}={value}" for name, value in assignments.items())
        payload = message.encode(errors="surrogateescape")  # a file name may be no UTF-8
        (self._manager if self._keeper is None else self._keeper).send(payload)

    def extend_timeout(self, seconds: int) -> None:
        """Ask the service manager for so many more seconds, counted from now (EXTEND_TIMEOUT_USEC)."""
        self.send(EXTEND_TIMEOUT_USEC=seconds * 1_000_000)

    def feed(self, now: float) -> None:
        """Feed the watchdog of the service manager where it is due; what was not taken yet is sent as well."""
        self._manager.send_waiting()
        self._manager.feed(now)
