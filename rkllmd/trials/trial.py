"""A file that was never loaded before is first loaded by a child process, which may die of it.

C code aborts over a file that it was not made for, and would take the daemon with it. What the child has shown is
remembered by the identity of the files and of the runtime, and by the parameters that decide what is built from the
files (``max_context_len``, ``n_batch``): so each is tried once. If it kills the child, the load is an error, now and
later.

Files of this package are not tried: whoever can change them can change the daemon. With the vendor's runtimes, nothing
is tried unless the configuration says so: whether a second process may use the NPU beside the daemon is not known.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from resource import RLIM_INFINITY
from typing import TYPE_CHECKING, Final, Protocol

import orjson
import structlog

from rkllmd.config import values
from rkllmd.errors import Cancelled, RpcError, RuntimeFailure
from rkllmd.json_types import Json, JsonObject
from rkllmd.machine.c_runtime import last_words, no_handle
from rkllmd.machine.files import identify
from rkllmd.quick_dataclass import dataclass
from rkllmd.trials.process import Trier
from rkllmd.trials.quarantine import Quarantine, state_of

if TYPE_CHECKING:
    from rkllmd.abi.library import Functions
    from rkllmd.config.settings import Config
    from rkllmd.machine.c_runtime import CRuntime
    from rkllmd.machine.memory.guard import MemoryGuard
    from rkllmd.npu.job import Job
    from rkllmd.npu.worker import Npu
    from rkllmd.store.learned import Learned
    from rkllmd.trials.process import Ended

log = structlog.get_logger()

_PACKAGE: Final = Path(__file__).resolve().parents[1]
_MOST_ENTRIES: Final = 2000
# Memory that the child needs beside the file: for its interpreter, buffers and stacks of threads.
_MEMORY_BESIDE: Final = 2**29
# With these signals, the child was killed from outside, usually for lack of memory: that says nothing about the file.
_FROM_OUTSIDE: Final = ("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP")
# An instruction that the processor does not have: that is the fault of the library, and another one may work.
_OF_THE_LIBRARY: Final = "SIGILL"
# A death for lack of memory may look like any other, so when there is this many times as much, the file is tried again.
_MORE_MEMORY: Final = 1.5
_SPLIT: Final = re.compile(r"-\d{5}-of-(\d{5})\.gguf$")
_MOST_PARTS: Final = 1000

Verdict = JsonObject


class Trials:
    """What trials have shown, kept across restarts. Used on the worker thread only."""

    def __init__(self, kept: Learned[str, Verdict] | None = None, quarantine: Quarantine | None = None) -> None:
        """Read what an earlier daemon has learned, if it is ``kept``; ``quarantine``: what is not even tried."""
        self.trier = Trier()
        self.quarantine = Quarantine() if quarantine is None else quarantine
        self._kept = kept
        self._verdicts: dict[str, Verdict] = {} if kept is None else kept.read()

    def find(self, key: str) -> Verdict | None:
        """Return the verdict on a file, None if there is none yet."""
        return self._verdicts.get(key)

    def learn(self, key: str, verdict: Verdict) -> None:
        """Remember a verdict; if there are too many, the oldest is forgotten."""
        self._verdicts.pop(key, None)
        self._verdicts[key] = verdict
        changed: dict[str, Verdict | None] = {key: verdict}
        while len(self._verdicts) > _MOST_ENTRIES:
            oldest = next(iter(self._verdicts))
            del self._verdicts[oldest]
            changed[oldest] = None
        if self._kept is not None:
            self._kept.put(changed)


class LoadingPart(Protocol):
    """The part that loads the file, ``Language`` or ``Vision``, as far as a trial is concerned."""

    npu: Npu
    memory_guard: MemoryGuard
    trials: Trials

    @property
    def config(self) -> Config:
        """Return the configuration in force."""

    @property
    def runtime(self) -> CRuntime[Functions]:
        """Return the runtime that loads the file."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A trial that may be due: what the child has to do, and the key by which the verdict is remembered.

    ``path`` is the file that is on trial, as errors name it. ``content`` is given if the model is in no file; the child
    gets it as one. ``ends_with_client``: nobody wants it any more when its client goes.
    """

    path: str
    request: JsonObject
    key: str
    content: memoryview | None = None
    ends_with_client: bool = False


class Files:
    """The files on which a verdict depends; if a GGUF was split, all of its files."""

    def __init__(self, paths: Iterable[str | None]) -> None:
        """Take the ``paths`` that are not None."""
        self.paths = [part for path in paths if path is not None for part in (path, *_other_parts(path))]

    @property
    def are_ours(self) -> bool:
        """Return whether all of them belong to this package."""
        return all(Path(path).resolve().is_relative_to(_PACKAGE) for path in self.paths)

    def identities(self) -> list[list[int | str]]:
        """Return what shows whether they are the same as before: any write changes it. Raises OSError."""
        found: list[list[int | str]] = []
        for path in self.paths:
            status = os.stat(path)
            found.append([status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns, identify(path).sha256])
        return found


def is_on(part: LoadingPart) -> bool:
    """Return whether files are tried before the runtime of this part gets them."""
    return values.is_on(part.config.trial_loads, automatically=part.runtime.name == "portable")


def key_of(*facts: Json) -> str:
    """Return the key of a verdict that depends on these facts."""
    return hashlib.sha256(orjson.dumps(facts)).hexdigest()


def run(part: LoadingPart, trial: Trial) -> None:
    """Try the file if it was not tried yet; on the worker thread.

    Raises RuntimeFailure for a file that kills the runtime, or that the runtime refuses; Cancelled.
    """
    verdict = part.trials.find(trial.key)
    if verdict is None or _is_out_of_date(part, verdict):
        verdict = _try(part, trial)
    elif "death" in verdict:
        log.warning("file_kills_the_runtime", path=trial.path, death=verdict["death"], remembered=True)
    if "death" in verdict:
        raise _deadly(part, trial, verdict)


def refuse_set_aside(part: LoadingPart, model: str, *, force: bool = False) -> None:
    """Refuse a model that has crashed the daemon again and again, unless it is to be loaded by force.

    ``model`` is its path, or the hash of its contents. Raises Quarantined.
    """
    if force:
        part.trials.quarantine.forget(model)
    else:
        part.trials.quarantine.check(model, lambda path: state_of(path, str(part.runtime.library.path), part.config))


def _try(part: LoadingPart, trial: Trial) -> Verdict:
    """Try the file now, and return the verdict; without objection if no child could be started."""
    started_at = time.monotonic()
    request = {**trial.request, "most_bytes": _most_bytes(part)}
    job = part.npu.queue.running
    try:
        with _ending_with_client(job, trial), _file_of(trial.content) as fds:
            ended = part.trials.trier.run(
                request, fds, lambda: not (part.npu.closing or (job is not None and job.cancelled))
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
            part.trials.learn(trial.key, verdict)
        return verdict
    if ended.failed is not None:
        raise _refused(part, ended)
    log.info("file_tried", path=trial.path, seconds=seconds)
    part.trials.learn(trial.key, {})
    return {}


def _deadly(part: LoadingPart, trial: Trial, verdict: Verdict) -> RuntimeFailure:
    death, step, lines = str(verdict["death"]), str(verdict["step"]), list(verdict["lines"])
    said = last_words(lines)
    if death in _FROM_OUTSIDE:
        message = f"{trial.path} is not loaded: the process that tried it was killed ({death} in {step}), for lack of "
        message += f"memory as a rule; the setting trial_loads = never loads it untried{said}"
    elif death == _OF_THE_LIBRARY:
        message = f"{trial.path} is not loaded: the runtime has an instruction that this processor lacks ({death}"
        message += f"{f' in {step}' if step else ''}){said}"
        if step.startswith("rkllm"):
            message = " ".join([message, *part.runtime.problems])
    else:
        where = f" in {step}" if step else ""
        message = f"{trial.path} is not loaded, since it kills the runtime ({death}{where}){said}"
    return RuntimeFailure(message, function=step, status=None, signal=death, log=lines)


def _refused(part: LoadingPart, ended: Ended) -> RpcError:
    """Return the error with which the load itself would have failed."""
    function, lines = str(ended.failed), ended.lines
    if function != "rkllm_init":
        return part.runtime.failure(function, ended.status, lines)
    return no_handle(function, ended.status, lines)


def _ending_with_client(job: Job | None, trial: Trial) -> AbstractContextManager[None]:
    """Let the job be cancelled when its client goes, if the trial ends with the client: ``Trier`` looks for that."""
    return job.stoppable() if job is not None and trial.ends_with_client else nullcontext()


@contextmanager
def _file_of(content: memoryview | None) -> Iterator[list[int]]:
    """Put bytes into a memfd, and yield its descriptor."""
    if content is None:
        yield []
        return
    with open(os.memfd_create("rkllmd-trial", os.MFD_CLOEXEC), "wb", buffering=0) as file:
        written = 0
        while written < len(content):
            written += file.write(content[written:])
        yield [file.fileno()]


def _most_bytes(part: LoadingPart) -> int:
    left = part.memory_guard.left_bytes()
    return RLIM_INFINITY if left is None else left + _MEMORY_BESIDE


def _is_out_of_date(part: LoadingPart, verdict: Verdict) -> bool:
    """Return whether a death may have been for lack of memory, of which there is enough now."""
    most = verdict.get("most_bytes", RLIM_INFINITY)
    return "death" in verdict and most != RLIM_INFINITY and _most_bytes(part) > most * _MORE_MEMORY


def parts_of(path: str) -> list[str]:
    """Return the paths of all files of a model, whether they exist or not: several if it was split, else this one."""
    match = _SPLIT.search(path)
    if match is None or int(match[1]) > _MOST_PARTS:
        return [path]
    count = int(match[1])
    return [f"{path[: match.start()]}-{number:05d}-of-{count:05d}.gguf" for number in range(1, count + 1)]


def _other_parts(path: str) -> list[str]:
    """Return the other files of a model that was split, if they exist."""
    return [name for name in parts_of(path) if name != path and os.path.exists(name)]
