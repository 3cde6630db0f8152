"""How the engine's threads wait for each other. How many there are is decided in the library (free_cpus.hpp)."""

from __future__ import annotations

import os
import platform
from typing import Final

# The engine's threads meet hundreds of times for each token, in libgomp. By default a waiting thread spins for 300 000
# rounds, some milliseconds, before it sleeps: on two busy processors, a model of 200 million parameters made 0.9 to 3.4
# tokens a second with two threads, and with 1000 rounds 15 to 36 (one thread: 34). On two idle processors it made 90 to
# 105 either way; with no rounds (OMP_WAIT_POLICY=passive) 55, less than the 66 of one thread. A round is x86's pause,
# some 20 ns. On ARM a round takes about a tenth of that, to judge by its instructions; it was not measured there.
_ROUNDS: Final = 1_000
_SHORT_ROUNDS: Final = 10_000


def limit_spinning() -> None:
    """Bound how long the engine's threads spin; without effect once libgomp is loaded, or if the environment says it.

    libgomp reads its environment when it is loaded, so this comes before the library that needs it.
    """
    if "OMP_WAIT_POLICY" in os.environ:
        return
    rounds = _ROUNDS if platform.machine() in ("x86_64", "i686") else _SHORT_ROUNDS
    os.environ.setdefault("GOMP_SPINCOUNT", str(rounds))
