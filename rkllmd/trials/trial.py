"""Has this file ever been loaded? One that was not is first loaded by a child process, which may die of it.

C code that meets a file that it was not made for aborts, and the daemon with all its clients would be gone. What the
child has shown is remembered by the identity of the files, of the runtime, and of the parameters that decide what is
built from them (``max_context_len``, ``n_batch``): each is tried once. What kills it is an error, then and later.

Files of this package are not tried: whoever can change them can change the daemon. With the vendor's runtimes nothing
is tried unless the configuration says so: whether a second process may use the NPU beside the daemon is not known.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from resource import RLIM_INFINITY
from typing import TYPE_CHECKING, Any, Final, Protocol

import orjson
import structlog

from rkllmd.errors import Cancelled, RpcError, RuntimeFailure
from rkllmd.machine.c_runtime import last_words, no_handle
from rkllmd.machine.files import identify
from rkllmd.trials.process import Trier

if TYPE_CHECKING:
    from rkllmd.config.settings import Config
    from rkllmd.machine.c_runtime import CRuntime
    from rkllmd.machine.memory_guard import MemoryGuard
    from rkllmd.npu.job import Job
    from rkllmd.npu.worker import Npu
    from rkllmd.store.learned import Learned
    from rkllmd.trials.process import Ended

log = structlog.get_logger()

_PACKAGE: Final = Path(__file__).resolve().parents[1]
_MOST_ENTRIES: Final = 2000
# What the child has beside the file: its interpreter, buffers and stacks of threads.
_MEMORY_BESIDE: Final = 2**29
# Somebody else has ended the child, for lack of memory as a rule: that says nothing about the file.
_FROM_OUTSIDE: Final = ("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP")
# An instruction that the processor lacks: that is the library's fault, and the next one's may do.
_OF_THE_LIBRARY: Final = "SIGILL"
# A death for lack of memory may look like any other, so with so much more of it the file is tried again.
_MORE_MEMORY: Final = 1.5
_SPLIT: Final = re.compile(r"-\d{5}-of-(\d{5})\.gguf$")
_MOST_PARTS: Final = 1000

Verdict = dict[str, Any]


class Trials:
    """What trials have shown, kept across restarts. Used on the worker thread only."""

    def __init__(self, kept: Learned[Verdict] | None = None) -> None:
        """Read what an earlier daemon has learned, if it is ``kept``."""
        self.trier = Trier()
        self._kept = kept
        self._verdicts: dict[str, Verdict] = {} if kept is None else kept.read()

    def find(self, key: str) -> Verdict | None:
        """Return what is known."""
        return self._verdicts.get(key)

    def learn(self, key: str, verdict: Verdict) -> None:
        """Remember; the oldest go first."""
        self._verdicts.pop(key, None)
        self._verdicts[key] = verdict
        changed: dict[str, Verdict | None] = {key: verdict}
        while len(self._verdicts) > _MOST_ENTRIES:
            oldest = next(iter(self._verdicts))
            del self._verdicts[oldest]
            changed[oldest] = None
        if self._kept is not None:
            self._kept.put(changed)


class Room(Protocol):
    """Who has a file tried: the language or the vision side, as far as a trial concerns it."""

    npu: Npu
    memory_guard: MemoryGuard
    trials: Trials

    @property
    def config(self) -> Config:
        """Return the configuration in force."""

    @property
    def runtime(self) -> CRuntime[Any]:
        """Return the runtime that the file is for."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A trial that may be due: what the child is to do, and by what the verdict is remembered.

    ``path`` is the file that is on trial, as errors name it; ``content``, where it is given, is in no file, and the
    child gets it as one. ``ends_with_client``: nobody wants it when its client goes.
    """

    path: str
    request: dict[str, Any]
    key: str
    content: memoryview | None = None
    ends_with_client: bool = False


class Files:
    """The files on which a verdict depends; of a GGUF in several parts all of them."""

    def __init__(self, paths: Iterable[str | None]) -> None:
        """``paths``: those that are None are left out."""
        self.paths = [part for path in paths if path is not None for part in (path, *_other_parts(path))]

    @property
    def are_ours(self) -> bool:
        """Return whether all are of this package."""
        return all(Path(path).resolve().is_relative_to(_PACKAGE) for path in self.paths)

    def identities(self) -> list[Any]:
        """Return what tells whether they are the same as before: any write changes it. Raises OSError."""
        found = []
        for path in self.paths:
            status = os.stat(path)
            found.append([status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns, identify(path).sha256])
        return found


def is_on(room: Room) -> bool:
    """Return whether files are tried before the room's runtime gets them."""
    setting = room.config.trial_loads
    return room.runtime.name == "portable" if setting == "auto" else setting == "always"


def key_of(*facts: Any) -> str:
    """Return the key of a verdict that depends on these facts."""
    return hashlib.sha256(orjson.dumps(facts)).hexdigest()


def run(room: Room, trial: Trial) -> None:
    """Try the file if nobody has; on the worker thread.

    Raises RuntimeFailure for a file that kills the runtime, or that it refuses; Cancelled.
    """
    verdict = room.trials.find(trial.key)
    if verdict is None or _is_out_of_date(room, verdict):
        verdict = _try(room, trial)
    elif "death" in verdict:
        log.warning("file_kills_the_runtime", path=trial.path, death=verdict["death"], remembered=True)
    if "death" in verdict:
        raise _deadly(room, trial, verdict)


def _try(room: Room, trial: Trial) -> Verdict:
    """Return the verdict of a trial that is made now; it is good where no child could be started."""
    started_at = time.monotonic()
    request = {**trial.request, "most_bytes": _most_bytes(room)}
    job = room.npu.queue.running
    try:
        with _ending_with_client(job, trial), _file_of(trial.content) as fds:
            ended = room.trials.trier.run(
                request, fds, lambda: not (room.npu.closing or (job is not None and job.cancelled))
            )
    except OSError as error:  # no memory for a process, or it may not start any
        log.warning("file_not_tried", path=trial.path, reason=str(error))
        return {}
    seconds = round(time.monotonic() - started_at, 3)
    if ended.is_cancelled:
        raise Cancelled("The call was cancelled while the file was tried.")
    if ended.is_late:
        raise RuntimeFailure(
            f"{trial.path} is not loaded: its trial in a process of its own did not end after {seconds:.0f} s.",
            function=ended.step,
            status=None,
            log=ended.lines,
        )
    if ended.death is not None:
        log.warning(
            "file_kills_the_runtime", path=trial.path, death=ended.death, function=ended.step, log=ended.lines[-5:]
        )
        verdict = {"death": ended.death, "step": ended.step, "lines": ended.lines, "most_bytes": request["most_bytes"]}
        if ended.death not in (*_FROM_OUTSIDE, _OF_THE_LIBRARY):
            room.trials.learn(trial.key, verdict)
        return verdict
    if ended.failed is not None:
        raise _refused(room, ended)
    log.info("file_tried", path=trial.path, seconds=seconds)
    room.trials.learn(trial.key, {})
    return {}


def _deadly(room: Room, trial: Trial, verdict: Verdict) -> RuntimeFailure:
    death, step, lines = str(verdict["death"]), str(verdict["step"]), list(verdict["lines"])
    said = last_words(lines)
    if death in _FROM_OUTSIDE:
        message = f"{trial.path} is not loaded: the process that tried it was killed ({death} in {step}), for lack of "
        message += f"memory as a rule; the setting trial_loads = never loads it untried{said}"
    elif death == _OF_THE_LIBRARY:
        message = f"{trial.path} is not loaded: the runtime has an instruction that this processor lacks ({death}"
        message += f"{f' in {step}' if step else ''}){said}"
        if step.startswith("rkllm"):
            message = " ".join([message, *room.runtime.problems])
    else:
        where = f" in {step}" if step else ""
        message = f"{trial.path} is not loaded, since it kills the runtime ({death}{where}){said}"
    return RuntimeFailure(message, function=step, status=None, signal=death, log=lines)


def _refused(room: Room, ended: Ended) -> RpcError:
    """Return the error that the call itself would have got."""
    function, lines = str(ended.failed), ended.lines
    if function != "rkllm_init":
        return room.runtime.failure(function, ended.status, lines)
    return no_handle(function, ended.status, lines)


def _ending_with_client(job: Job | None, trial: Trial) -> AbstractContextManager[None]:
    """Let the job be cancelled when its client goes, if the trial ends with it: the child's watcher looks for that."""
    return job.stoppable() if job is not None and trial.ends_with_client else nullcontext()


@contextmanager
def _file_of(content: memoryview | None) -> Iterator[list[int]]:
    """Put bytes into a file of memory, and give its descriptor."""
    if content is None:
        yield []
        return
    with open(os.memfd_create("rkllmd-trial", os.MFD_CLOEXEC), "wb", buffering=0) as file:
        written = 0
        while written < len(content):
            written += file.write(content[written:])
        yield [file.fileno()]


def _most_bytes(room: Room) -> int:
    available = int(room.memory_guard.available_bytes)
    return available + _MEMORY_BESIDE if available else RLIM_INFINITY


def _is_out_of_date(room: Room, verdict: Verdict) -> bool:
    """Return whether a death may have been for lack of memory that is there now."""
    most = verdict.get("most_bytes", RLIM_INFINITY)
    return "death" in verdict and most != RLIM_INFINITY and _most_bytes(room) > most * _MORE_MEMORY


def _other_parts(path: str) -> list[str]:
    """Return the other files of a model that was split, those that exist."""
    match = _SPLIT.search(path)
    if match is None or int(match[1]) > _MOST_PARTS:
        return []
    count = int(match[1])
    names = [f"{path[: match.start()]}-{number:05d}-of-{count:05d}.gguf" for number in range(1, count + 1)]
    return [name for name in names if name != path and os.path.exists(name)]
