"""A run of an RKNN model that goes on after its call is answered (rknn_run with non_block), and its time limit."""

from __future__ import annotations

from dataclasses import field

import structlog
import trio

from rkllmd.errors import Timeout
from rkllmd.interruption import Interruption
from rkllmd.quick_dataclass import dataclass

log = structlog.get_logger()


@dataclass(eq=False)
class DetachedRun:
    """A run that goes on after its call is answered; ``seconds``: its limit, ``timeout``: its error if longer."""

    interruption: Interruption
    seconds: float
    timeout: Timeout | None = None
    _patience: trio.CancelScope = field(default_factory=trio.CancelScope)

    def watch(self) -> None:
        """Stop the run when its limit is over; called on the event loop."""
        trio.lowlevel.spawn_system_task(self._stop_in_time)

    def unwatch(self) -> None:
        """Forget the limit, since the run has ended or nobody waits for it any more; called on the event loop."""
        self._patience.cancel()

    async def _stop_in_time(self) -> None:
        with self._patience:
            await trio.sleep(self.seconds)
            limit = round(self.seconds * 1000)
            self.timeout = Timeout(
                f"The run took longer than its limit of {limit} ms.", limit_ms=limit, elapsed_ms=float(limit)
            )
            log.warning("call_timed_out", method="rknn.run", **self.timeout.data)
            self.interruption.set()
