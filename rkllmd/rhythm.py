"""When the daemon looks after itself: once a second, and all of it in the same turn of the event loop.

A turn finds the processor's caches cold, so three of them take three times as long as one.
"""

from __future__ import annotations

import math

import trio


async def next_second() -> None:
    """Wait for the next whole second of trio's clock, which is the same for all who wait."""
    await trio.sleep_until(math.floor(trio.current_time()) + 1)
