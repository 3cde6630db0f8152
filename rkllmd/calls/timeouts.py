"""The time limits that the configuration sets for each method, and those that a call may ask for.

What follows when one of them has passed is decided in ``npu/deadlines.py``.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from rkllmd.config.current import CurrentConfig
from rkllmd.config.settings import Config
from rkllmd.config.values import ConfigError
from rkllmd.npu.deadlines import Deadlines
from rkllmd.wire.members import NO_MEMBERS, Members

if TYPE_CHECKING:
    from rkllmd.calls.declaration import Method


class Timeouts:
    """The limits that the configuration sets, and those that a call may ask for."""

    def __init__(self, current: CurrentConfig) -> None:
        self._current = current

    def of(self, method: Method, members: Members) -> Deadlines:
        """Return the limits of a call with these members beside "method", which can only make them shorter.

        Raises InvalidParams.
        """
        deadlines = self._configured(method)
        if members is NO_MEMBERS:
            return deadlines
        members.check("wait_timeout_ms", "timeout_ms", "first_token_timeout_ms", "run_timeout_ms")
        wait, limit, first = members.wait_timeout, members.timeout, members.first_token_timeout
        if wait is limit is first is members.run_timeout is None:
            return deadlines
        return replace(
            deadlines,
            wait=deadlines.wait if wait is None else wait,
            first=min(first or limit or math.inf, deadlines.first),
            between=min(limit or math.inf, deadlines.between),
            whole=min(members.run_timeout or math.inf, deadlines.whole),
        )

    def own(self) -> Deadlines:
        """Return the limits of the daemon's own jobs, which wait for their turn however long that takes."""
        config = self._current.config
        limit = config.timeouts_ms["default"] / 1000 or math.inf
        return Deadlines(math.inf, limit, limit, limit, limit, _load_seconds(config), config.grace_ms / 1000)

    def _configured(self, method: Method) -> Deadlines:
        config = self._current.config
        table = config.timeouts_ms
        first = between = table.get(method.name, table["default"])
        whole = lifeless = math.inf
        if method.abort is not None:  # a generation
            first, between = config.first_token_timeout_ms, config.token_timeout_ms
            between = table.get(method.name, between)
            whole = config.run_timeout_ms / 1000 or math.inf
            lifeless = config.no_progress_seconds or math.inf
        wait, first_s, between_s = (ms / 1000 or math.inf for ms in (config.wait_timeout_ms, first, between))
        grace = config.grace_ms / 1000
        return Deadlines(wait, first_s, between_s, first_s, between_s, _load_seconds(config), grace, lifeless, whole)


def check(config: Config, methods: Mapping[str, Method]) -> None:
    """Raise ConfigError for a limit of a method that does not exist."""
    unknown = sorted(set(config.timeouts_ms) - set(methods) - {"default"})
    if unknown:
        close = difflib.get_close_matches(unknown[0], [*methods, "default"], n=1)
        hint = f"did you mean {close[0]}?" if close else "rpc.discover lists them all."
        raise ConfigError(f"The setting timeouts_ms: there is no method {unknown[0]!r}; {hint}")


def _load_seconds(config: Config) -> float:
    table = config.timeouts_ms
    return table.get("rkllm.init", table["default"]) / 1000 or math.inf
