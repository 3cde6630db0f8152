"""How a setting's value is read: limits, and a function for each kind of value.

Each function takes what TOML, the environment or the command line gives, and raises ValueError with what is allowed.
"""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Final, TypeVar, cast

from rkllmd.abi.layouts.rknn_constants import rknn_core_mask
from rkllmd.wire.members import MOST_MS

DEFAULT_RESERVE: Final = 2**30
# A load reads gigabytes, from an SD card at 20 MB/s; the slowest vision encoder in Rockchip's tables takes 3.3 s.
DEFAULT_TIMEOUTS_MS: Final = {
    "default": 60_000,
    "rkllm.init": 900_000,
    "rkllm.load_lora": 300_000,
    "rknn.init": 300_000,
}
# struct sockaddr_un holds 108 bytes with the closing zero (unix(7)); a longer path fails in bind with a puzzling error.
_SOCKET_PATH_BYTES: Final = 107
# A year; more is a mistake in the unit.
MOST_MINUTES: Final = 365 * 24 * 60


T = TypeVar("T")


class ConfigError(Exception):
    """The configuration can't be used; the message is one sentence for the person who wrote it."""


class WrongMember(ValueError):
    """A value inside a table is wrong: a sentence that names it and says what it is and what is allowed."""


def socket_path(value: object) -> str:
    """Return the path of a Unix socket."""
    path = text(value)
    if not path.startswith("/") or len(os.fsencode(path)) > _SOCKET_PATH_BYTES:
        raise ValueError(f"an absolute path of at most {_SOCKET_PATH_BYTES} bytes")
    return path


def text(value: object) -> str:
    """Return a string."""
    if not isinstance(value, str) or "\0" in value:
        raise ValueError("a string without NUL characters")
    return value


def choice(*allowed: str) -> Callable[[object], str]:
    """Return what takes one of these words."""

    def parse(value: object) -> str:
        text = str(value)  # TOML may say 1.3 where "1.3" is meant
        if text not in allowed:
            raise ValueError("one of " + ", ".join(allowed))
        return text

    return parse


when = choice("auto", "always", "never")


def is_on(setting: str, *, automatically: bool) -> bool:
    """Return what a setting that takes ``when`` means; ``automatically``: what it is that "auto" stands for."""
    return automatically if setting == "auto" else setting == "always"


def integer(low: int, high: int, *, or_zero: bool = False) -> Callable[[object], int]:
    """Return what takes a whole number within these limits; ``or_zero``: or 0, which stands for what is usual."""

    def parse(value: object) -> int:
        text = str(value).strip()
        number = int(text) if re.fullmatch("-?[0-9]{1,18}", text) else None
        if or_zero and number == 0 and not isinstance(value, bool):
            return number
        if isinstance(value, bool) or number is None or not low <= number <= high:
            raise ValueError(f"{'0 or ' if or_zero else ''}a whole number from {low} to {high}")
        return number

    return parse


def users(value: object) -> tuple[int, ...]:
    """Return the uids of several users."""
    items = value.split(":") if isinstance(value, str) else value
    if not isinstance(items, (list, tuple)):
        raise ValueError("uids or names of users (a list in the file, separated by ':' elsewhere)")
    return tuple(_user(item) for item in items if item != "")


def _user(item: object) -> int:
    """Return the uid of a user."""
    try:
        return int(str(item)) if str(item).isdecimal() else pwd.getpwnam(str(item)).pw_uid
    except (KeyError, ValueError):  # the latter for a name with a NUL
        raise ValueError(f"uids or names of users, and {str(item)[:64]!r} is none") from None


def milliseconds_by_method(value: object) -> dict[str, int]:
    """Return the defaults, with what ``value`` sets: a table, or method=milliseconds pairs."""
    items = dict(item.partition("=")[::2] for item in value.split(":") if item) if isinstance(value, str) else value
    if not isinstance(items, dict) or "" in items.values():
        raise ValueError("a table of methods and milliseconds (method=milliseconds, separated by ':', elsewhere)")
    parse = integer(0, MOST_MS)
    return {**DEFAULT_TIMEOUTS_MS, **{name: parse(milliseconds) for name, milliseconds in _dotted(items).items()}}


def _dotted(table: Mapping[str, object]) -> dict[str, object]:
    """Return the table with one level: TOML reads an unquoted rkllm.init as a table in a table."""
    flat: dict[str, object] = {}
    for name, value in table.items():
        nested = _dotted(value) if isinstance(value, Mapping) else None
        flat |= {name: value} if nested is None else {f"{name}.{inner}": item for inner, item in nested.items()}
    return flat


def boolean(value: object) -> bool:
    """Return true or false."""
    text = str(value).lower()
    if text not in ("true", "false"):
        raise ValueError("true or false")
    return text == "true"


def directories(value: object) -> tuple[str, ...]:
    """Return absolute directories."""
    items = value.split(":") if isinstance(value, str) else value
    if not isinstance(items, (list, tuple)) or not all(
        isinstance(item, str) and item.startswith("/") and "\0" not in item for item in items
    ):
        raise ValueError("absolute directories (a list in the file, separated by ':' elsewhere)")
    return tuple(items)


def optional_directory(value: object) -> str:
    """Return an absolute directory, or nothing."""
    if value == "":
        return ""
    if not isinstance(value, str) or not value.startswith("/") or "\0" in value:
        raise ValueError("an absolute directory, or empty")
    return value


def minutes(value: object) -> float:
    """Return minutes, with decimals."""
    text = str(value).strip()
    number = float(text) if re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,9})?", text) else -1.0
    if not 0 <= number <= MOST_MINUTES:
        raise ValueError(f"minutes from 0 to {MOST_MINUTES}")
    return number


def cpu_mask(value: object) -> str | int:
    """Return a mask of processors, or ``auto``."""
    text = str(value).strip().lower()
    if text == "auto":
        return text
    number = int(text, 0) if re.fullmatch("0x[0-9a-f]{1,8}|[1-9][0-9]{0,9}", text) else 0
    if not 0 < number < 2**32:
        raise ValueError("auto, or a mask of processors such as 0xF0, at most 0xFFFFFFFF")
    return number


def core_mask(value: object) -> str | int:
    """Return a mask of NPU cores, or ``auto``."""
    text = str(value).strip()
    if text.lower() == "auto":
        return "auto"
    for member in rknn_core_mask:
        if text in (member.name, str(member.value)) and member is not rknn_core_mask.RKNN_NPU_CORE_UNDEFINED:
            return int(member)
    raise ValueError("auto, or a mask of NPU cores: 1, 2, 4, 3, 7, 65535, or its C name such as RKNN_NPU_CORE_0_1")


def setting(
    default: T,
    parse: Callable[[object], object],
    help_text: str,
    *,
    env: str | None = None,
    reload: bool = False,
    only_in_file: bool = False,
) -> T:
    """Return the field of a setting; ``reload``: SIGHUP takes it over, ``env``: the name of its variable, if special.

    ``only_in_file``: neither the environment nor the command line gives it.
    """
    metadata = {"parse": parse, "help": help_text, "env": env, "reload": reload, "only_in_file": only_in_file}
    if isinstance(default, dict):
        return cast(T, field(default_factory=lambda: dict(default), metadata=metadata))
    return field(default=default, metadata=metadata)
