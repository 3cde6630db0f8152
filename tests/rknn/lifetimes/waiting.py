"""Waiting until exactly this many objects are held, and until C has ended some."""

from __future__ import annotations

from tests.daemon import until
from tests.rknn.board import NOTHING, Simulator, held

INFO = {"M": 1, "K": 32, "N": 32, "type": "RKNN_INT8_MM_INT8_TO_INT32"}
SHAPE = {"M": 1, "K": 32, "N": 32}
SYNC = {"mode": 1}


def until_held(board: Simulator, wanted: dict[str, int]) -> None:
    """Wait until server.status counts this many of each kind."""

    def counted() -> bool:
        found = held(board.daemon)
        return all(len(found[name]) == wanted.get(name, 0) for name in NOTHING)

    until(f"{wanted} in server.status", counted)


def ended(board: Simulator, since: int) -> list[str]:
    """Return the functions that end something, in the order of their calls, from this line of the trace on."""
    ending = ("rknn_destroy", "rknn_destroy_mem", "rknn_matmul_destroy", "rknn_outputs_release", "rknn_wait")
    return [line[3] for line in board.daemon.trace()[since:] if line[2] == "enter" and line[3] in ending]
