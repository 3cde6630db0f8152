"""What a client that waits is told."""

from __future__ import annotations

from typing import Any

from rkllmd.gateway import progress


def entry(position: int, pid: int, queued_ms: float, wait: float | None = None) -> dict[str, Any]:
    client = f"client 3 (pid {pid}, uid 1000)"
    return {"client": client, "position": position, "queued_ms": queued_ms, "estimated_wait_ms": wait}


def test_the_call_that_waits_about_as_long_is_meant() -> None:
    queue = {"queue": [entry(0, 7, 9000), entry(1, 8, 5000), entry(2, 7, 4990, 12400.0)], "length": 3}
    said = progress.describe(queue, 7, 5000, has_begun=False)
    assert said == "queued, position 2 of 3, about 12 s"


def test_a_call_that_does_not_wait_is_read() -> None:
    queue = {"queue": [entry(0, 8, 5000), entry(1, 7, 100)], "length": 2}
    assert progress.describe(queue, 7, 5000, has_begun=False) == "reading the prompt"
    assert progress.describe({"queue": [], "length": 0}, 7, 5000, has_begun=False) == "reading the prompt"


def test_a_call_of_which_something_has_come_generates() -> None:
    assert progress.describe({"queue": [], "length": 0}, 7, 5000, has_begun=True) == "generating"
