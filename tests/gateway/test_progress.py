"""What a client that waits is told."""

from __future__ import annotations

from typing import Any

from rkllmd.gateway import progress


def entry(position: int, wait: float | None = None, *, own: bool = False) -> dict[str, Any]:
    return {"own": own, "position": position, "estimated_wait_ms": wait}


def queue(*waiting: dict[str, Any], running: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"queue": list(waiting), "length": len(waiting), "running": [] if running is None else [running]}


def test_its_own_call_is_meant() -> None:
    said = progress.describe(queue(entry(0), entry(1, 12400.0, own=True), entry(2)), has_begun=False)
    assert said == "queued, position 2 of 3, about 12 s"
    assert progress.describe(queue(entry(0, own=True)), has_begun=False) == "queued, position 1 of 1"


def test_a_call_that_runs_reads_the_prompt() -> None:
    running = {"own": True, "elapsed_ms": 4000.0, "progress": {"expected_first_token_ms": 9000.0}}
    assert progress.describe(queue(running=running), has_begun=False) == "reading the prompt, 4 s of about 9 s"
    for other in (None, {**running, "own": False}, {**running, "progress": None}):
        assert progress.describe(queue(running=other), has_begun=False) == "reading the prompt"


def test_nothing_is_known() -> None:
    assert progress.describe(None, has_begun=False) == "waiting"


def test_a_call_of_which_something_has_come_generates() -> None:
    assert progress.describe(queue(), has_begun=True) == "generating"
