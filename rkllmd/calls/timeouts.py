"""The limits of time that the configuration sets for each method, and what a call may ask for itself.

What follows when one has passed is decided in ``npu/deadlines.py``.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from rkllmd.config.settings import Config
from rkllmd.config.values import MOST_MS, ConfigError
from rkllmd.errors import InvalidParams
from rkllmd.npu.deadlines import Deadlines

if TYPE_CHECKING:
    from rkllmd.calls.declaration import Method

# The members beside "method".
_TIMEOUT: Final = "timeout_ms"
_FIRST_TOKEN: Final = "first_token_timeout_ms"
_WAIT: Final = "wait_timeout_ms"
_MEMBERS: Final = (_TIMEOUT, _FIRST_TOKEN, _WAIT)


class Timeouts:
    """The limits that the configuration sets, and what a call may ask for itself."""

    def __init__(self, config: Config, methods: Mapping[str, Method]) -> None:
        """Raise ConfigError for a method that does not exist."""
        unknown = sorted(set(config.timeouts_ms) - set(methods) - {"default"})
        if unknown:
            close = difflib.get_close_matches(unknown[0], [*methods, "default"], n=1)
            hint = f"did you mean {close[0]}?" if close else "rpc.discover lists them all."
            raise ConfigError(f"The setting timeouts_ms: there is no method {unknown[0]!r}; {hint}")
        self._config = config
        self._known: dict[str, Deadlines] = {}

    def of(self, method: Method, members: Mapping[str, Any]) -> Deadlines:
        """Return the limits of a call with these members beside "method"; they may be shorter than the configuration's.

        Raises InvalidParams.
        """
        deadlines = self._known.get(method.name)
        if deadlines is None:
            deadlines = self._known[method.name] = self._configured(method)
        if not members or not any(name in members for name in _MEMBERS):
            return deadlines
        wait, limit, first = (_seconds(members, name) for name in (_WAIT, _TIMEOUT, _FIRST_TOKEN))
        return replace(
            deadlines,
            wait=deadlines.wait if wait is None else wait,
            first=min(first or limit or math.inf, deadlines.first),
            between=min(limit or math.inf, deadlines.between),
        )

    @cached_property
    def own(self) -> Deadlines:
        """Return the limits of what the daemon does itself: it waits for its turn however long that takes."""
        config = self._config
        limit = config.timeouts_ms["default"] / 1000 or math.inf
        return Deadlines(math.inf, limit, limit, limit, limit, self._load, config.grace_ms / 1000)

    @property
    def _load(self) -> float:
        table = self._config.timeouts_ms
        return table.get("rkllm.init", table["default"]) / 1000 or math.inf

    def _configured(self, method: Method) -> Deadlines:
        config = self._config
        table = config.timeouts_ms
        first = between = table.get(method.name, table["default"])
        if method.abort is not None:  # a generation
            first, between = config.first_token_timeout_ms, config.token_timeout_ms
            between = table.get(method.name, between)
        wait, first_s, between_s = (ms / 1000 or math.inf for ms in (config.wait_timeout_ms, first, between))
        return Deadlines(wait, first_s, between_s, first_s, between_s, self._load, config.grace_ms / 1000)


def _seconds(members: Mapping[str, Any], name: str) -> float | None:
    value = members.get(name)
    if value is None:
        return None
    if type(value) is not int or not 1 <= value <= MOST_MS:
        keyword, limit = ("maximum", MOST_MS) if type(value) is int and value > MOST_MS else ("minimum", 1)
        raise InvalidParams(
            f'The member "{name}" is a whole number of milliseconds from 1 to {MOST_MS}.',
            member=name,
            keyword=keyword,
            limit=limit,
        )
    return value / 1000
