"""A daemon that is killed in many ways, and what is looked at after each."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

from tests.daemon import Daemon, until
from tests.kills.ledger import Ledger, Submitter, asked
from tests.soak.sampler import child_of
from tests.wire_connection import Wire

WAYS: Final = ("daemon", "keeper", "both")
# Five tokens for a job, in as many milliseconds.
SCENARIO: Final = "tokens=8;pace_us=800;trace_inputs=1"
# A kill comes after this long at most, from the beginning of a job to the writing of several.
_KILL_SECONDS: Final = 0.25
_POLL_SECONDS: Final = 0.003


class Board:
    """Daemons with their keepers, one after the other, with one state directory; clients and kills."""

    def __init__(self, directory: Path, seed: int = 1) -> None:
        self.counts: Counter[str] = Counter()
        self._directory = directory
        self._state = directory / "state"
        self._state.mkdir(parents=True)
        self._choice = random.Random(seed)
        self._ledger = Ledger()
        self._trace_offset = 0
        self._runs: Counter[int] = Counter()
        self._daemon = self._start()

    def close(self) -> None:
        """Stop the last daemon; it must have had no fault."""
        assert self._daemon.stop() == 0
        assert self._daemon.faults() == []

    def round(self, way: str) -> None:
        """Submit jobs, kill in this way in the middle of it, look what has become of them."""
        submitter = Submitter(self._daemon.path, self._ledger, self._choice.randrange(2**32))
        submitter.begin()
        time.sleep(self._choice.random() * _KILL_SECONDS)
        self._kill(way)
        submitter.end()
        self._settle()
        self.counts[f"kills of {way}"] += 1

    def _start(self) -> Daemon:
        arguments = ("--state-directory", str(self._state), "--model", str(self._directory / "model.rkllm"))
        limits = ("--max-jobs-per-user", "2000", "--max-jobs", "2000", "--log-level", "1")
        (self._directory / "model.rkllm").touch()
        daemon = Daemon(self._directory, *arguments, *limits, scenario=SCENARIO, keeper=True)
        daemon.wait_ready()
        return daemon

    def _kill(self, way: str) -> None:
        keeper = self._daemon.process
        until("a daemon", lambda: child_of(keeper.pid) is not None)
        child = child_of(keeper.pid)
        assert child is not None
        pids = {"daemon": [child], "keeper": [keeper.pid], "both": [keeper.pid, child]}[way]
        for pid in self._choice.sample(pids, len(pids)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if way == "daemon":
            until("the next daemon", lambda: child_of(keeper.pid) not in (None, child))
            return
        keeper.wait()
        until("the end of the daemon", lambda: not Path(f"/proc/{child}").exists())
        assert self._daemon.process.stdout is not None
        self._daemon.process.stdout.close()
        assert self._daemon.faults() == []
        self._read_trace()
        self._daemon.trace_path.unlink()  # the next one begins at zero
        self._trace_offset = 0
        self._daemon = self._start()

    def _settle(self) -> None:
        """Wait until each job has ended, and look how; then forget it."""
        with self._served() as wire:
            ended = {job: self._ended(wire, job) for job in self._ledger.promised}
            store = wire.ask("server.status")["result"]["store"]
            assert (store["set_aside"], store["failure"]) == ([], None), store
            self._read_trace()
            for job, found in ended.items():
                promise = self._ledger.promised.pop(job)
                self.counts[f"jobs {promise.must_fit(found, self._runs[promise.number])}"] += 1
                assert asked(wire, "server.job", {"job": job, "forget": True}) is not None
        self.counts["jobs"] += len(ended)

    def _served(self) -> Wire:
        """Return a connection to a daemon; where many were killed in a row, the keeper asks to come back later."""
        while True:
            wire = Wire(self._daemon.path)
            if asked(wire, "server.status") is not None:
                return wire
            wire.socket.close()
            self.counts["answers of the keeper"] += 1
            time.sleep(_POLL_SECONDS)

    def _ended(self, wire: Wire, job: str) -> dict[str, Any]:
        while (found := wire.ask("server.job", {"job": job})["result"])["status"] in ("queued", "processing"):
            time.sleep(_POLL_SECONDS)
        assert found["status"] != "not_found", f"a job is lost: {self._ledger.promised[job]}"
        return dict(found)

    def _read_trace(self) -> None:
        with self._daemon.trace_path.open("rb") as file:
            file.seek(self._trace_offset)
            whole = file.read().rpartition(b"\n")[0]
        self._trace_offset += len(whole)
        for line in whole.splitlines():
            words = line.split()
            if len(words) == 5 and words[2] == b"input":
                self._runs[int(words[4])] += 1
