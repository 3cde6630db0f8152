"""Visits that submit jobs, which outlive their connection and the daemon."""

from __future__ import annotations

import time
from typing import Any

from tests.soak.guest import Gone, Guest, must_own_the_words, opened
from tests.soak.place import Visit
from tests.soak.visits.upkeep import model
from tests.wire_connection import kind


def jobs(visit: Visit) -> None:
    """Submit some, take some back, leave; come back for the results, even to the next daemon."""
    with opened(visit.company) as guest:
        handle = model(visit, guest)
        submitted = {}
        for _ in range(visit.choice.randrange(1, 4)):
            mark = guest.mark()
            params = {"method": "rkllm.run", "params": {"handle": handle, "prompt": mark}, "retry": True}
            answer = guest.ask("server.submit", params)
            if kind(answer) is None:
                submitted[answer["result"]["job"]] = mark
        if submitted and visit.choice.random() < 0.2:
            guest.ask("server.cancel", {"job": next(iter(submitted))})
    for job, mark in submitted.items():
        _take(visit, job, mark)


def _take(visit: Visit, job: str, mark: str) -> None:
    """Wait for the end of a job. None is lost, whatever becomes of the daemon."""
    while True:
        try:
            with opened(visit.company) as guest:
                found = _ended(guest, job)
                assert found["status"] != "not_found", f"a job is lost: {job}"
                if found["status"] == "completed":
                    result = found["result"]
                    must_own_the_words(result["text"], mark, is_whole=result["finish_reason"] == "stop")
                visit.company.count(f"jobs: {found['status']}")
                if visit.choice.random() < 0.7:
                    guest.ask("server.job", {"job": job, "forget": True})
            return
        except Gone:
            visit.company.count("jobs looked for in the next daemon")


def _ended(guest: Guest, job: str) -> dict[str, Any]:
    while True:
        found = dict(guest.ask("server.job", {"job": job})["result"])
        if found["status"] not in ("queued", "processing"):
            return found
        time.sleep(0.02)  # as a client that polls
