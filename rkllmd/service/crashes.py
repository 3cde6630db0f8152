"""Daemons that have crashed: what their keeper reports of them, as clients get it (``last_crash``)."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from typing import Final

import orjson
import structlog

from rkllmd.json_types import JsonObject
from rkllmd.keeper import journal, report
from rkllmd.keeper.report import Rest
from rkllmd.keeper.ties import REPLACE_ME
from rkllmd.store.learned import LAST, Learned

log = structlog.get_logger()

# What a person reads; the log has all of them.
_LINES: Final = 40
_LINE_LENGTH: Final = 1000
_STACKS_LENGTH: Final = 16_384
# What faulthandler writes of the thread that got the signal.
_CURRENT: Final = re.compile(r"^Current thread 0x([0-9a-f]+)", re.MULTILINE)

# A daemon gives up a call that hangs after a second at the earliest (device_lost_seconds).
_HANGS_SECONDS: Final = 0.5

# What the worker asks again and again while a run goes on (language/runs/inference.py).
_QUESTIONS: Final = ("rkllm_is_running",)


class Crashes:
    """How the daemons before this one have crashed."""

    def __init__(self, kept: Learned[int, JsonObject]) -> None:
        """``kept`` is where the last one outlives daemons that end in order."""
        self._kept = kept
        # The last one, of whichever daemon; and that of the daemon right before this one.
        self.last: JsonObject | None = kept.read().get(LAST)
        self.fresh: JsonObject | None = None

    def take(self, crash: JsonObject) -> None:
        """Take a crash that nobody knows of yet, and say so in the log."""
        log.error("crashed", **crash)
        self.last = self.fresh = crash
        self._kept.put({LAST: crash})


def read(reports: int) -> list[JsonObject]:
    """Return the crashes that the keeper has reported, the last one at the end; without a keeper there are none."""
    if reports < 0:
        return []
    return [describe(orjson.loads(facts), rest) for facts, rest in report.read(reports)]


def describe(facts: JsonObject, rest: Rest) -> JsonObject:
    """Return a crash as docs/protocol.md has it."""
    stacks = rest.stacks.decode("utf-8", "replace")
    calls = journal.calls(rest.journal)
    died_at = float(facts["monotonic"])
    if facts["exit_status"] == REPLACE_ME:
        call = _hanging(calls, died_at)
    else:
        call = _guilty(calls, stacks, on_loop=facts["stuck"])
    return {
        "at": datetime.fromtimestamp(float(facts["at"]), UTC).isoformat(timespec="milliseconds"),
        "end": facts["end"],
        "signal": facts["signal"],
        "exit_status": facts["exit_status"],
        "stuck": facts["stuck"],
        "out_of_memory": facts["out_of_memory"],
        "call": None if call is None else _call(call, died_at),
        "beside": [_call(other, died_at) for other in calls if other is not call],
        "lines": _lines(journal.output(rest.journal)[0] + rest.printed),
        "stacks": stacks[:_STACKS_LENGTH],
        "pid": facts["pid"],
        "uptime_s": facts["uptime_s"],
        "crashes": facts["crashes"],
    }


def _hanging(calls: list[JsonObject], died_at: float) -> JsonObject | None:
    """Return the call that did not return, so that the daemon gave up: the last one that had time for it.

    What has hardly begun is an attempt to end the other one.
    """
    patient = [call for call in calls if died_at - call["since"] >= _HANGS_SECONDS]
    return next((found[-1] for found in (patient, calls) if found), None)


def _guilty(calls: list[JsonObject], stacks: str, *, on_loop: bool) -> JsonObject | None:
    """Return the call of which the daemon has died: of the thread that got the signal, else the one that began last.

    Where the event loop stood still, it is the loop's if that was in one; the others have done nothing then. A question
    about a run dies on its own thread: on a thread that C has made, it was the run.
    """
    if on_loop:
        return next((call for call in reversed(calls) if call["on_loop"]), None)
    thread = _CURRENT.search(stacks)
    number = math.nan if thread is None else int(thread[1], 16)
    on_the_thread = [call for call in calls if call["thread"] == number]
    others = [call for call in calls if call["function"] not in _QUESTIONS]
    return next((found[-1] for found in (on_the_thread, others, calls) if found), None)


def _call(call: JsonObject, died_at: float) -> JsonObject:
    return {
        "method": call["method"] or None,
        "function": call["function"],
        "handle": call["handle"] or None,
        "name": call["name"] or None,
        "model_path": call["path"] or None,
        "pid": None if call["pid"] < 0 else call["pid"],
        "uid": None if call["user"] < 0 else call["user"],
        "request": _request(call["request"]),
        "job": call["job"] or None,
        "runs": call["runs"],
        "elapsed_ms": round(max(0.0, died_at - call["since"]) * 1000, 1),
        "thread": "event loop" if call["on_loop"] else "npu",
    }


def _request(text: str) -> str | int | None:
    """Return the id of a request; of one that was too long, what there is of it."""
    try:
        found: str | int | None = orjson.loads(text)
    except orjson.JSONDecodeError:
        return text or None
    return found


def _lines(printed: bytes) -> list[str]:
    found = [line.decode("utf-8", "replace").rstrip() for line in printed.split(b"\n")]
    return [line[:_LINE_LENGTH] for line in found if line][-_LINES:]
