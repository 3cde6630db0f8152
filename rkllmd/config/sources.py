"""Puts the configuration together from the defaults, the file (TOML), the environment and the command line.

Each of these overrides those before it.

A wrong value stops the start with a sentence that names the key, where it came from, the value and what is allowed.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Final

from rkllmd.config.settings import Config, environment_name, settable_outside
from rkllmd.config.values import ConfigError, WrongMember

DEFAULT_FILE: Final = Path("/etc/rkllmd.toml")


def load(environ: Mapping[str, str], flags: Mapping[str, object], file: Path | None = None) -> Config:
    """Put the configuration together: defaults < ``file`` < ``environ`` < ``flags`` (those that are not None).

    Without ``file``, ``/etc/rkllmd.toml`` is read if it exists. Raises ConfigError.
    """
    values: dict[str, object] = {}
    path = file or (DEFAULT_FILE if DEFAULT_FILE.exists() else None)
    if path is not None:
        _take(values, _read(path), lambda key: str(path))
    from_environment = {
        item.name: environ[name] for item in settable_outside() if environ.get(name := environment_name(item.name))
    }
    _take(values, from_environment, lambda key: f"environment variable {environment_name(key)}")
    given = {key: value for key, value in flags.items() if value is not None}
    _take(values, given, lambda key: f"option --{key.replace('_', '-')}")
    # Each value is what the parser of its setting returns, which no type says.
    make: Callable[..., Config] = Config
    return make(**values)


def _read(path: Path) -> dict[str, object]:
    try:
        found = tomllib.loads(path.read_text("utf-8"))
        str(found)  # a hexadecimal number of thousands of digits can be read, but not be shown in an error
        return found
    except RecursionError:
        raise ConfigError(f"{path} is nested too deep.") from None
    except ValueError as error:  # TOMLDecodeError, UnicodeDecodeError, a decimal number of thousands of digits
        raise ConfigError(f"{path} is not valid TOML: {error}.") from None
    except OSError as error:
        raise ConfigError(f"{path} can't be read: {error.strerror}.") from None


def _take(values: dict[str, object], found: Mapping[str, object], origin: Callable[[str], str]) -> None:
    known = {item.name: item for item in fields(Config)}
    for key, value in found.items():
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}."
            raise ConfigError(f"{origin(key)}: there is no setting {key!r}; {hint}")
        if key == "model" and isinstance(value, dict):
            raise ConfigError(f"{origin(key)}: model is one path; a table that declares a model is [models.NAME].")
        try:
            values[key] = known[key].metadata["parse"](value)
        except WrongMember as error:
            raise ConfigError(f"{origin(key)}: {error}.") from None
        except RecursionError:
            raise ConfigError(f"{origin(key)}: {key} is nested too deep.") from None
        except ValueError as error:
            raise ConfigError(f"{origin(key)}: {key} is {str(value)[:200]!r}, allowed is {error}.") from None
