"""A run of an RKNN model that goes on when its call is answered (rknn_run with non_block), and how long it may."""

from __future__ import annotations

from dataclasses import dataclass, field

import structlog
import trio

from rkllmd.errors import Timeout
from rkllmd.interruption import Interruption

log = structlog.get_logger()


@dataclass(eq=False)
class DetachedRun:
    """A run that goes on when its call is answered; ``seconds``: how long it may, ``timeout``: that it was longer."""

    interruption: Interruption
    seconds: float
    timeout: Timeout | None = None
    _patience: trio.CancelScope = field(default_factory=trio.CancelScope)

    def watch(self) -> None:
        """Stop the run when its time is over; called on the event loop."""
        trio.lowlevel.spawn_system_task(self._stop_in_time)

    def unwatch(self) -> None:
        """Forget the time: the run has ended, or is waited for no more; called on the event loop."""
        self._patience.cancel()

    async def _stop_in_time(self) -> None:
        with self._patience:
            await trio.sleep(self.seconds)
            limit = round(self.seconds * 1000)
            self.timeout = Timeout(
                f"The run took longer than it may ({limit} ms).", limit_ms=limit, elapsed_ms=float(limit)
            )
            log.warning("call_timed_out", method="rknn.run", **self.timeout.data)
            self.interruption.set()
