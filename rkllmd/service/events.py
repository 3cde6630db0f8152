"""Who watches what (server.watch), and what is sent: the queue, models, loads, ends of jobs, why there was a crash.

While nobody watches, nothing is done: the NPU has no observer, and no timer runs.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import structlog
import trio

from rkllmd.errors import InternalError, RpcError
from rkllmd.json_types import JsonObject
from rkllmd.npu import views
from rkllmd.wire import jsonrpc

if TYPE_CHECKING:
    from collections.abc import Callable

    import outcome

    from rkllmd.calls.detached.call import DetachedCall
    from rkllmd.calls.invocation import Client
    from rkllmd.npu.job import Job
    from rkllmd.npu.worker import Npu
    from rkllmd.service.crashes import Crashes

log = structlog.get_logger()

EVENTS: Final = ("queue", "load", "models", "job", "crashed")
# What of a model says how it is used at the moment, and not what it is.
_PASSING: Final = ("loaded_s", "unused_s", "paused")
# A queue may change a thousand times in a second, and nobody would read that: its state is sent at most this often.
_QUEUE_SECONDS: Final = 0.1
# Often enough for a person to see it move smoothly.
_LOAD_SECONDS: Final = 0.25


class Events:
    """The watching clients. All methods are called on the event loop."""

    def __init__(self, npu: Npu, crashes: Crashes, models: Callable[[], JsonObject]) -> None:
        """Begin without watchers; ``models`` returns what the event of this name has."""
        self._npu = npu
        self._crashes = crashes
        self._models = models
        # As they were sent last, without what passes.
        self._shown_models: JsonObject | None = None
        self._watchers: dict[str, dict[int, Client]] = {event: {} for event in EVENTS}
        self._queue_moved = trio.Event()
        self._load_runs = trio.Event()
        # Who is to learn of the crash before this daemon: each once.
        self._untold: list[Client] = []
        self._crash_is_asked = trio.Event()

    def watch(self, client: Client, events: list[str]) -> None:
        """Send these events to ``client`` from now on, and no others; the present state is sent at once."""
        self.forget(client.number)
        for event in events:
            self._watchers[event][client.number] = client
        self._observe()
        if "models" in events:
            self._send("models", self._models(), [client])
        self._queue_moved.set()
        self._load_runs.set()
        if "crashed" in events and self._crashes.fresh is not None:
            self._untold.append(client)
            self._crash_is_asked.set()

    def forget(self, number: int) -> None:
        """Send nothing to this client any more."""
        for watchers in self._watchers.values():
            watchers.pop(number, None)
        self._observe()

    def is_watching(self, client: Client) -> bool:
        """Return whether the client watches anything."""
        return any(client.number in watchers for watchers in self._watchers.values())

    def _observe(self) -> None:
        observed = any(self._watchers[event] for event in ("queue", "load", "models"))
        self._npu.observe(self if observed else None)

    # -- what happens ------------------------------------------------------------------------------------------------

    def moved(self, job: Job) -> None:
        """Note that a job has begun to wait or to run, or was dropped."""
        self._queue_moved.set()
        self._tell_models()
        if job.load is not None and job.state == "running":
            self._send("load", {"state": "begin", **_about(job)})
            self._load_runs.set()

    def ended(self, job: Job, result: outcome.Outcome[object]) -> None:
        """Note that a job has run."""
        self._queue_moved.set()
        self._tell_models()
        if job.load is not None:
            error = getattr(result, "error", None)
            told = {} if error is None else {"error": _error(error)}
            self._send("load", {"state": "end", **_about(job), **told})

    def _tell_models(self) -> None:
        """Send which models there are, if that has changed: only jobs load and unload any."""
        if not self._watchers["models"]:
            return
        now = self._models()
        lasting = {**now, "models": [_without_passing(model) for model in now["models"]]}
        if lasting != self._shown_models:
            self._shown_models = lasting
            self._send("models", now)

    def job_ended(self, call: DetachedCall) -> None:
        """Send to the watchers of the same user that a detached call has ended."""
        told = {} if call.error is None else {"error": call.error}
        members = {"job": call.id, "method": call.method, "status": call.status, "elapsed_ms": call.elapsed_ms, **told}
        self._send("job", members, [item for item in self._watchers["job"].values() if item.user == call.user])

    # -- what is sent now and then -----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Send the queue's state after it has changed, how far a load is, and the last crash, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._tell_queue)
            nursery.start_soon(self._tell_load)
            nursery.start_soon(self._tell_crash)

    async def _tell_queue(self) -> None:
        while True:
            await self._queue_moved.wait()
            self._queue_moved = trio.Event()
            if self._watchers["queue"]:
                self._send("queue", self._queue())
                await trio.sleep(_QUEUE_SECONDS)

    async def _tell_load(self) -> None:
        while True:
            await self._load_runs.wait()
            self._load_runs = trio.Event()
            while self._watchers["load"] and (job := self._npu.queue.running) is not None and job.load is not None:
                done = views.of(job, self._npu.durations, time.monotonic())
                self._send("load", {"state": "progress", **_about(job), "progress": done})
                await trio.sleep(_LOAD_SECONDS)

    async def _tell_crash(self) -> None:
        while True:
            await self._crash_is_asked.wait()
            self._crash_is_asked = trio.Event()
            untold, self._untold = self._untold, []
            watching = [client for client in untold if client.number in self._watchers["crashed"]]
            self._send("crashed", {"crash": self._crashes.fresh}, watching)

    def _queue(self) -> JsonObject:
        running, now = self._npu.queue.running, time.monotonic()
        waiting = views.waiting(views.turns(self._npu, now), now)
        current = None if running is None else _about(running)
        return {"state": self._npu.state, "current": current, "queue": waiting, "length": len(waiting)}

    def _send(self, event: str, members: JsonObject, watchers: list[Client] | None = None) -> None:
        watchers = list(self._watchers[event].values()) if watchers is None else watchers
        if not watchers:
            return
        try:
            line = jsonrpc.notification("server.event", {"event": event, **members})
        except TypeError as error:  # a path from the command line that is no UTF-8; the NPU's queue must go on
            log.error("event_not_sent", event_kind=event, reason=str(error))
            return
        for client in watchers:
            client.notify(line)


def _about(job: Job) -> JsonObject:
    return {
        "method": job.method,
        "client": views.describe_client(views.owner_of(job)),
        "model_path": job.model_name or None,
        "elapsed_ms": views.elapsed_ms(job.started_at, time.monotonic()),
    }


def _without_passing(model: JsonObject) -> JsonObject:
    return {name: value for name, value in model.items() if name not in _PASSING}


def _error(error: BaseException) -> JsonObject:
    """Return what a watcher is sent; the log and the caller have the details of a fault of ours."""
    told = error if isinstance(error, RpcError) else InternalError("The daemon failed: its log has the details.")
    return told.to_json()
