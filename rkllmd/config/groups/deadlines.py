"""How long calls may take, and what follows when the NPU is stuck."""

from __future__ import annotations

from collections.abc import Mapping

from rkllmd.config.values import DEFAULT_TIMEOUTS_MS, boolean, integer, milliseconds_by_method, setting
from rkllmd.quick_dataclass import dataclass
from rkllmd.wire.members import MOST_MS


@dataclass(init=False, frozen=True)
class DeadlineSettings:
    """The settings of time."""

    timeouts_ms: Mapping[str, int] = setting(
        DEFAULT_TIMEOUTS_MS,
        milliseconds_by_method,
        "how long calls of a method may run, and default for all others; 0: for ever",
        reload=True,
    )
    # A prompt of 8192 tokens takes 226 s on an RK3588, one of 16000 more than 300 s.
    first_token_timeout_ms: int = setting(
        1_800_000, integer(0, MOST_MS), "how long a generation may take for its first token", reload=True
    )
    # A model of 27 billion parameters makes about one token in a second.
    token_timeout_ms: int = setting(
        60_000, integer(0, MOST_MS), "how long a generation may take for its next token", reload=True
    )
    # At a token in a second, a whole context of 4096 tokens.
    run_timeout_ms: int = setting(
        3_600_000, integer(0, MOST_MS), "how long a generation may take in all; 0: for ever", reload=True
    )
    # The queue is bounded and a client can see the wait; a client that does not want to wait says so in the call.
    wait_timeout_ms: int = setting(
        0, integer(0, MOST_MS), "how long a call may wait for its turn; 0: for ever", reload=True
    )
    # An abort was seen to take effect 1.3 s later, at the end of the prefill.
    grace_ms: int = setting(
        10_000,
        integer(0, 3_600_000),
        "how long a call that was stopped may take for it before it is answered",
        reload=True,
    )
    # What the runtimes print is known from public reports alone. If one prints such a line for something harmless, a
    # robot must not stop because of it.
    device_lost_lines: bool = setting(
        True, boolean, "whether lines of the runtimes that mean a stuck NPU stop the queue (true, false)", reload=True
    )
    # The driver resets the NPU by itself after a job has failed, and before the runtime reports the failure.
    device_retry_seconds: int = setting(
        5, integer(1, 86_400), "how long after a failure of the NPU one call may try it again", reload=True
    )
    # A prefill keeps processor and NPU busy.
    no_progress_seconds: int = setting(
        300,
        integer(0, 86_400),
        "how long before its first token a generation may show no sign of life (CPU time, NPU load); 0: for ever",
        reload=True,
    )
    # A new process gets the device anew.
    device_lost_seconds: int = setting(
        120,
        integer(0, 86_400),
        "how long the NPU may be stuck before the daemon ends itself, to be started anew; 0: for ever",
        reload=True,
    )
