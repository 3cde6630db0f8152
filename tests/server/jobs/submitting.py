"""Submitting calls, and asking what has become of them."""

from __future__ import annotations

from typing import Any

from tests.daemon import ENDLESS, Daemon, Start
from tests.wire_connection import Wire, kind


def submit(wire: Wire, method: str, params: Any = None, **members: Any) -> str:
    """Submit a call; return its job."""
    inner = {"method": method, **({} if params is None else {"params": params})}
    answer = wire.ask("server.submit", inner, "submit", **members)
    assert kind(answer) is None, answer
    assert answer["result"].keys() == {"status", "job", "position", "estimated_wait_ms"}
    assert answer["result"]["status"] == "queued"
    return str(answer["result"]["job"])


def look(wire: Wire, job: str, **params: Any) -> dict[str, Any]:
    return dict(wire.ask("server.job", {"job": job, **params}, "job")["result"])


def done_so_far(wire: Wire, job: str) -> dict[str, Any]:
    """Return the progress; there is none until the call has really begun."""
    return look(wire, job).get("progress") or {}


def ended(wire: Wire, job: str) -> dict[str, Any]:
    """Ask until the job has ended."""
    while (found := look(wire, job))["status"] in ("queued", "processing"):
        pass
    return found


def result_of(wire: Wire, job: str) -> Any:
    """Ask until the job has ended, as it must with a result; return that."""
    found = ended(wire, job)
    assert "result" in found, found
    return found["result"]


def endless(start: Start, *arguments: str, **options: Any) -> Daemon:
    daemon = start(*arguments, scenario=options.pop("scenario", ENDLESS), **options)
    daemon.load(max_new_tokens=0)
    return daemon
