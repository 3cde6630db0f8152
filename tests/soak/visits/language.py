"""Visits that generate: runs, streams of all shapes, conversations, cancels, pauses, hang-ups."""

from __future__ import annotations

from typing import Any

from tests.soak.guest import Guest, opened
from tests.soak.place import Visit
from tests.soak.visits.upkeep import model

_SHAPES = ("partial", "notify", "final")


def _prompt(guest: Guest, handle: int, words: int = 1, session: str = "") -> tuple[dict[str, Any], str]:
    mark = guest.mark(session)
    return {"handle": handle, "prompt": mark * words}, mark


def runs(visit: Visit) -> None:
    """Have some answers, one after the other."""
    with opened(visit.company) as guest:
        handle = model(visit, guest)
        for _ in range(visit.choice.randrange(1, 6)):
            guest.ask("rkllm.run", *_prompt(guest, handle))


def streams(visit: Visit) -> None:
    """Send several streams at once, and instant calls beside them; take some back."""
    with opened(visit.company) as guest:
        handle = model(visit, guest)
        calls = []
        for _ in range(visit.choice.randrange(1, 6)):
            # One that was paused goes on in the next one of its connection.
            prompt = _prompt(guest, handle, visit.choice.randrange(1, 8), f"{guest.number}~")
            members: dict[str, Any] = {"stream": visit.choice.choice(_SHAPES)}
            if visit.choice.random() < 0.1:
                members["timeout_ms"] = 1
            calls.append(guest.begin("rkllm.run_async", *prompt, resumes=True, **members))
            if visit.choice.random() < 0.3:
                taken = visit.choice.choice(["server.cancel", "server.pause"])
                calls.append(guest.begin(taken, {"id": visit.choice.choice(calls)}))
            calls.append(guest.begin("rkllm.is_running", [handle]))
        for call in calls:
            guest.answer(call)


def conversations(visit: Visit) -> None:
    """Talk in a session that others know as well, and in the connection's own conversation."""
    with opened(visit.company) as guest:
        handle = model(visit, guest)
        name = f"room{visit.choice.randrange(6)}"
        if visit.choice.random() < 0.3:
            guest.ask("server.drop_session", {"name": name})
        for _ in range(2):
            mark = guest.mark(f"{name}~")
            guest.ask("rkllm.run_async", {"handle": handle, "prompt": mark}, mark, session=name)
        for _ in range(2):
            mark = guest.mark()
            guest.ask("rkllm.run", {"handle": handle, "prompt": mark, "keep_history": 1}, mark)
        guest.ask("rkllm.clear_kv_cache", [handle, 1])


def hangups(visit: Visit) -> None:
    """Leave in the middle of a stream, with more calls waiting behind it."""
    with opened(visit.company) as guest:
        handle = model(visit, guest)
        guest.begin("rkllm.run_async", *_prompt(guest, handle, 100))
        for _ in range(3):
            guest.begin("rkllm.run", *_prompt(guest, handle))
        for _ in range(visit.choice.randrange(4)):
            guest.receive()


def aborts(visit: Visit) -> None:
    """Abort what runs, whoever has begun it."""
    with opened(visit.company) as guest:
        handle = model(visit, guest)
        run = guest.begin("rkllm.run_async", *_prompt(guest, handle, 30))
        guest.ask("rkllm.abort", [handle])
        guest.answer(run)


def batches(visit: Visit) -> None:
    """Send several calls as one array."""
    with opened(visit.company) as guest:
        handle = model(visit, guest)
        prompts = [_prompt(guest, handle) for _ in range(3)]
        calls = [("rkllm.run", *prompt) for prompt in prompts]
        for call in guest.begin_batch([*calls, ("server.queue", None, ""), ("rkllm.get_constants", None, "")]):
            guest.answer(call)


def watchers(visit: Visit) -> None:
    """Watch everything for as long as a run takes."""
    with opened(visit.company) as guest:
        handle = model(visit, guest)
        guest.ask("server.watch", {"events": ["queue", "load", "job"]})
        guest.ask("rkllm.run", *_prompt(guest, handle))
        guest.ask("server.sessions")
