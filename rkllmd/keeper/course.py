"""What the keeper decides: when a daemon is started again, who answers meanwhile, whether one still lives.

Nothing here waits or asks; all times are the monotonic clock's, in seconds.
"""

from __future__ import annotations

from signal import SIGTERM

from rkllmd.keeper.ties import CANNOT_START, UNEXPECTED, USAGE

# Between a crash and the next start; doubled for each daemon in a row that crashes before it has settled: before the
# models that it loads by itself are loaded. One that crashes later was brought down by a call, and has served.
_LEAST_SECONDS = 0.1
_MOST_SECONDS = 30.0
# This many in a row, and clients are answered at once instead of waiting: from here on the pause exceeds a second.
_IN_A_LOOP = 4
# A daemon that is not there for so long keeps nobody waiting. On a slow board one starts in three seconds, or in ten
# while something else keeps the board busy.
_PATIENCE_SECONDS = 30.0
# How long a start takes, until one was seen.
_USUAL_START_SECONDS = 1.0

# The event loop beats once a second. It stands still for so long, and the daemon is taken for stuck. It never goes
# into C; while the NPU's thread is in a call that may starve it, such as a load that reads gigabytes through a small
# memory, it is given more.
_STILL_SECONDS = 4.0
_STILL_IN_LONG_CALL_SECONDS = 20.0
# The libraries are loaded before the loop turns, from an SD card at the first start.
_START_SECONDS = 60.0
# From SIGABRT, for which faulthandler writes where every thread is, to SIGKILL.
_LAST_WORDS_SECONDS = 2.0
# What counts of the time between two looks: a keeper that was itself held up has no business to blame the daemon.
_MOST_AT_ONCE_SECONDS = 1.5

ABORT, KILL = "abort", "kill"


def status_after(code: int, *, is_stopping: bool, has_served: bool, has_socket: bool) -> int | None:
    """Return the keeper's own exit status after the end of a daemon; None: another daemon is to be started.

    ``code`` is as os.waitstatus_to_exitcode has it. ``is_stopping``: it was to leave, or said that it does.
    """
    if is_stopping:
        return 0 if code == -SIGTERM else code if code >= 0 else 128 - code  # as a shell says it
    if code == CANNOT_START or (code in (USAGE, UNEXPECTED) and not has_served):
        return code
    return code if code >= 0 and not has_socket else None  # it had not even come so far as to bind one


class Course:
    """How it goes with the daemons, one after the other."""

    def __init__(self, now: float) -> None:
        self.is_ready = False
        # How many have crashed or were replaced, and how many of them in a row before they had settled.
        self.crashes = 0
        self.failures = 0
        # When the next one is to be started, while there is none.
        self.start_at = now
        self._unready_since = now
        self._started_at = now
        self._start_seconds = _USUAL_START_SECONDS

    def started(self, now: float) -> None:
        """Note that a daemon is started."""
        self._started_at = now

    def ready(self, now: float) -> None:
        """Note that the daemon serves."""
        if not self.is_ready:
            self.is_ready = True
            self._start_seconds = now - self._started_at

    def settled(self) -> None:
        """Note that the daemon has loaded what it was to load by itself."""
        self.failures = 0

    def ended(self, now: float) -> None:
        """Note that the daemon has ended, and is to be started again."""
        if self.is_ready:
            self._unready_since = now
        self.is_ready = False
        self.start_at = now + min(_LEAST_SECONDS * 2**self.failures, _MOST_SECONDS)
        self.crashes += 1
        self.failures += 1

    def answers(self, now: float) -> bool:
        """Return whether the keeper answers clients, instead of letting them wait for the next daemon."""
        return not self.is_ready and (self.failures > _IN_A_LOOP or now - self._unready_since > _PATIENCE_SECONDS)

    def retry_after_ms(self, now: float) -> int:
        """Return after how long it is worth coming back."""
        return round(1000 * (max(0.0, self.start_at - now) + self._start_seconds))


class Pulse:
    """Whether the event loop of one daemon turns."""

    def __init__(self, now: float) -> None:
        self._still_seconds = 0.0
        self._aborted_seconds: float | None = None
        self._beats = 0
        self._looked_at = now
        self._limit = _START_SECONDS

    @property
    def is_fresh(self) -> bool:
        """Return whether it has turned lately, or needn't have."""
        return self._aborted_seconds is None and self._still_seconds <= self._limit

    @property
    def limit_seconds(self) -> float:
        """Return how long it may stand still."""
        return self._limit

    def look(self, now: float, beats: int, *, in_long_call: bool) -> str | None:
        """Note how often the loop has turned by now; return what is to be done about a daemon that is stuck."""
        passed = min(now - self._looked_at, _MOST_AT_ONCE_SECONDS)
        self._looked_at = now
        if self._aborted_seconds is not None:
            self._aborted_seconds += passed
            return KILL if self._aborted_seconds > _LAST_WORDS_SECONDS else None
        self._still_seconds = self._still_seconds + passed if beats == self._beats else 0.0
        self._beats = beats
        if beats:
            self._limit = _STILL_IN_LONG_CALL_SECONDS if in_long_call else _STILL_SECONDS
        if self.is_fresh:
            return None
        self._aborted_seconds = 0.0
        return ABORT
