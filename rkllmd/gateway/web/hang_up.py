"""Work for a client that is given up at once when the client hangs up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio
from starlette.types import Receive

from rkllmd.gateway.web.body import GoneError

T = TypeVar("T")


async def unless_gone(
    receive: Receive, work: Callable[[], Awaitable[T]], beside: Callable[[], Awaitable[None]] | None = None
) -> T:
    """Return what ``work`` does; it is cancelled when the client hangs up. Raises GoneError, and what it raises.

    ``beside`` runs meanwhile.
    """
    results: list[T] = []
    failures: list[Exception] = []
    async with trio.open_nursery() as nursery:

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            nursery.cancel_scope.cancel()

        nursery.start_soon(watch)
        if beside is not None:
            nursery.start_soon(beside)
        try:
            results.append(await work())
        except Exception as error:  # the nursery would wrap it
            failures.append(error)
        nursery.cancel_scope.cancel()
    if failures:
        raise failures[0]
    if not results:
        raise GoneError
    return results[0]
