"""Several clients at once, each in a thread of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


def seconds_together(clients: int, ask: Callable[[], None]) -> float:
    """Let this many clients ask; return the seconds until all of them are done."""
    threads = [threading.Thread(target=ask) for _ in range(clients)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - began
