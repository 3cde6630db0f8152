"""Every setting: its default with the reason, its limits, and where it may come from.

Defaults are overridden by the configuration file (TOML), that by the environment, that by the command line. A wrong
value stops the start with a sentence that names the key, where it came from, the value and what is allowed.
"""

from __future__ import annotations

import difflib
import os
import pwd
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from rkllmd.declared_models import DeclaredModel

from rkllmd.abi.rknn_constants import rknn_core_mask
from rkllmd.socs import SOCS

DEFAULT_RESERVE: Final = 2**30
# A load reads gigabytes, from an SD card at 20 MB/s; the slowest vision encoder in Rockchip's tables takes 3.3 s.
DEFAULT_TIMEOUTS_MS: Final = {
    "default": 60_000,
    "rkllm.init": 900_000,
    "rkllm.load_lora": 300_000,
    "rknn.init": 300_000,
}
DEFAULT_FILE: Final = Path("/etc/rkllmd.toml")
# A week.
MOST_MS: Final = 7 * 24 * 3600 * 1000
# struct sockaddr_un holds 108 bytes with the closing zero (unix(7)); a longer path fails in bind with a puzzling error.
_SOCKET_PATH_BYTES: Final = 107
# A year; more is a mistake in the unit.
MOST_MINUTES: Final = 365 * 24 * 60


class ConfigError(Exception):
    """The configuration can't be used; the message is one sentence for the person who wrote it."""


class WrongMember(ValueError):
    """A value inside a table is wrong: a sentence that names it and says what it is and what is allowed."""


def _socket_path(value: Any) -> str:
    if not _text(value).startswith("/") or len(os.fsencode(value)) > _SOCKET_PATH_BYTES:
        raise ValueError(f"an absolute path of at most {_SOCKET_PATH_BYTES} bytes")
    return str(value)


def _text(value: Any) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise ValueError("a string without NUL characters")
    return value


def _choice(*allowed: str) -> Callable[[Any], str]:
    def parse(value: Any) -> str:
        text = str(value)  # TOML may say 1.3 where "1.3" is meant
        if text not in allowed:
            raise ValueError("one of " + ", ".join(allowed))
        return text

    return parse


def _integer(low: int, high: int) -> Callable[[Any], int]:
    def parse(value: Any) -> int:
        text = str(value).strip()
        number = int(text) if re.fullmatch("-?[0-9]{1,18}", text) else None
        if isinstance(value, bool) or number is None or not low <= number <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return number

    return parse


def _users(value: Any) -> tuple[int, ...]:
    items = value.split(":") if isinstance(value, str) else value
    if not isinstance(items, (list, tuple)):
        raise ValueError("uids or names of users (a list in the file, separated by ':' elsewhere)")
    return tuple(_user(item) for item in items if item != "")


def _user(item: Any) -> int:
    try:
        return int(item) if str(item).isdecimal() else pwd.getpwnam(str(item)).pw_uid
    except (KeyError, ValueError):  # the latter for a name with a NUL
        raise ValueError(f"uids or names of users, and {str(item)[:64]!r} is none") from None


def _milliseconds_by_method(value: Any) -> dict[str, int]:
    """Return the defaults, with what ``value`` sets: a table, or method=milliseconds pairs."""
    items = dict(item.partition("=")[::2] for item in value.split(":") if item) if isinstance(value, str) else value
    if not isinstance(items, dict) or "" in items.values():
        raise ValueError("a table of methods and milliseconds (method=milliseconds, separated by ':', elsewhere)")
    parse = _integer(0, MOST_MS)
    return {**DEFAULT_TIMEOUTS_MS, **{name: parse(milliseconds) for name, milliseconds in _dotted(items).items()}}


def _dotted(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return a table with one level: TOML reads an unquoted rkllm.init as a table in a table."""
    flat: dict[str, Any] = {}
    for name, value in table.items():
        nested = _dotted(value) if isinstance(value, Mapping) else None
        flat |= {name: value} if nested is None else {f"{name}.{inner}": item for inner, item in nested.items()}
    return flat


def _boolean(value: Any) -> bool:
    text = str(value).lower()
    if text not in ("true", "false"):
        raise ValueError("true or false")
    return text == "true"


def _directories(value: Any) -> tuple[str, ...]:
    items = value.split(":") if isinstance(value, str) else value
    if not isinstance(items, (list, tuple)) or not all(
        isinstance(item, str) and item.startswith("/") and "\0" not in item for item in items
    ):
        raise ValueError("absolute directories (a list in the file, separated by ':' elsewhere)")
    return tuple(items)


def _optional_directory(value: Any) -> str:
    if value == "":
        return ""
    if not isinstance(value, str) or not value.startswith("/") or "\0" in value:
        raise ValueError("an absolute directory, or empty")
    return value


def _minutes(value: Any) -> float:
    text = str(value).strip()
    number = float(text) if re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,9})?", text) else -1.0
    if not 0 <= number <= MOST_MINUTES:
        raise ValueError(f"minutes from 0 to {MOST_MINUTES}")
    return number


def _models(value: Any) -> tuple[DeclaredModel, ...]:
    if value == ():
        return ()
    from rkllmd import declared_models  # with the schemas of the methods, which a client has no need of

    return declared_models.parse(value)


def _setting(
    default: Any,
    parse: Callable[[Any], Any],
    help_text: str,
    *,
    env: str | None = None,
    reload: bool = False,
    only_in_file: bool = False,
) -> Any:
    metadata = {"parse": parse, "help": help_text, "env": env, "reload": reload, "only_in_file": only_in_file}
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def _cpu_mask(value: Any) -> str | int:
    text = str(value).strip().lower()
    if text == "auto":
        return text
    number = int(text, 0) if re.fullmatch("0x[0-9a-f]{1,8}|[1-9][0-9]{0,9}", text) else 0
    if not 0 < number < 2**32:
        raise ValueError("auto, or a mask of processors such as 0xF0, at most 0xFFFFFFFF")
    return number


def _core_mask(value: Any) -> str | int:
    text = str(value).strip()
    if text.lower() == "auto":
        return "auto"
    for member in rknn_core_mask:
        if text in (member.name, str(member.value)) and member is not rknn_core_mask.RKNN_NPU_CORE_UNDEFINED:
            return int(member)
    raise ValueError("auto, or a mask of NPU cores: 1, 2, 4, 3, 7, 65535, or its C name such as RKNN_NPU_CORE_0_1")


@dataclass(frozen=True, slots=True)
class Config:
    """The settings in force. ``reload`` marks those that SIGHUP takes over without a restart."""

    socket: str = _setting("/tmp/rkllm.sock", _socket_path, "path of the Unix socket", env="RKLLM_UDS_PATH")

    runtime: str = _setting(
        "auto",
        _choice("auto", "vendor", "portable", "simulator"),
        "which library serves: the vendor's where an NPU is found, else the portable one; simulator: a test library",
    )
    rkllm_library: str = _setting("", _text, "path of librkllmrt.so, or its directory", env="RKLLM_LIB_PATH")
    rknn_library: str = _setting("", _text, "path of librknnrt.so, or its directory", env="RKNN_LIB_PATH")
    # The version string in the file decides; this is the way out for a runtime that is newer than this daemon.
    rkllm_layout: str = _setting("auto", _choice("auto", "1.2", "1.3", "1.3.1"), "struct layout of the RKLLM library")
    # As above; rknn_api.h of other versions differs from the one that this daemon knows, in places nobody has listed.
    rknn_layout: str = _setting("auto", _choice("auto", "2.3.2"), "struct layout of the RKNN library")
    # Reports say that rkllm_run_async hung or gave empty text before 1.2.2, whose change log says that it was fixed.
    run_async_calls: str = _setting(
        "auto",
        _choice("auto", "rkllm_run", "rkllm_run_async"),
        "the C function behind rkllm.run_async; auto: rkllm_run below runtime 1.2.2",
    )
    # It was once reported to hang on 1.2.1, and is called on the event loop: there the daemon answers by itself.
    is_running_calls: str = _setting(
        "auto",
        _choice("auto", "always", "never"),
        "whether rkllm.is_running asks the runtime for its raw status; auto: from runtime 1.2.2 on",
    )
    # Containers hide the device tree, and new boards are not in any table.
    soc: str = _setting("auto", _choice("auto", *SOCS), "which SoC it is; auto: what the machine says")
    # enabled_cpus_num follows from it. A model that runs on the slow processors is slower, and one that gets fewer than
    # it has NPU cores does not load.
    enabled_cpus_mask: str | int = _setting(
        "auto", _cpu_mask, "processors for language models, CPU0 = 1 (0xF0); auto: by the SoC, else the runtime's own"
    )
    # The runtime balances contexts over the cores by itself.
    rknn_core_mask: str | int = _setting(
        "auto", _core_mask, "NPU cores for RKNN models (1, RKNN_NPU_CORE_0_1); auto: the runtime's own choice"
    )
    model: str = _setting(
        "", _text, "a model to load at start, or the name of a declared one; 'demo' is the portable runtime's own"
    )
    # Rockchip's examples take 512 to 4096; what fits depends on the model and the memory.
    max_context_len: int = _setting(
        0,
        _integer(0, 2**24),
        "tokens of context for models that are loaded without a length; 0: the runtime's default",
        reload=True,
    )
    models: tuple[DeclaredModel, ...] = _setting(
        (), _models, "the models that may be loaded by a name: [models.NAME]", reload=True, only_in_file=True
    )
    # Clients of servers that kept their models in one place say only what is below it.
    model_directory: str = _setting(
        "",
        _optional_directory,
        "where relative paths of models and adapters begin; empty: they are refused",
        reload=True,
    )
    # Whoever asks for another model would take it from all others: that is the operator's to allow.
    second_init: str = _setting(
        "refuse",
        _choice("refuse", "replace"),
        "what rkllm.init of another model does where no more may be loaded: refuse, replace the one unused for longest",
        reload=True,
    )
    # A second load that does not fit has taken the first model down with it, so several are a decision.
    max_models: int = _setting(1, _integer(1, 8), "how many language models may be loaded at once")
    # Loading again takes up to a minute and loses the conversation: whether memory is worth that, the operator knows.
    model_idle_minutes: float = _setting(
        0.0, _minutes, "unload a language model that nobody used for so many minutes; 0: never", reload=True
    )

    # SIGHUP is the reload of a service and the end of a terminal; which of them it is follows from where stderr leads.
    ends_with: str = _setting(
        "auto",
        _choice("auto", "nothing", "terminal", "parent"),
        "what ends the daemon beside its own signals: its terminal (SIGHUP ends it instead of a reload), the process "
        "that started it (and SIGHUP), or nothing; auto: the terminal where stderr is one",
    )

    # RKLLM_LOG_LEVEL is also read by the vendor's runtime, which prints its performance table from 1 on.
    log_level: int = _setting(
        2, _integer(0, 3), "0 errors, 1 warnings, 2 information, 3 debug", env="RKLLM_LOG_LEVEL", reload=True
    )

    # bitcoind documents that several hundred connections can crash it by running out of descriptors: a bound, and the
    # soft limit of open files is raised to the hard one at start.
    max_connections: int = _setting(
        100, _integer(1, 10_000), "connections at once", env="RKLLM_MAX_CONNECTIONS", reload=True
    )
    # 16 MiB is what sd-varlink and containerd take.
    max_line_bytes: int = _setting(16 * 2**20, _integer(1024, 2**30), "longest line from a client", reload=True)
    # MPD drops a client at 8 MiB of unread output, geth after 10 s without progress.
    outbox_bytes: int = _setting(8 * 2**20, _integer(65_536, 2**30), "unread output that drops a client", reload=True)
    outbox_seconds: int = _setting(10, _integer(1, 3600), "seconds without progress that drop a client", reload=True)
    # QMP stops reading at 8 calls; ours are answered concurrently, so this only bounds memory.
    max_queue: int = _setting(256, _integer(1, 100_000), "NPU calls that may wait", reload=True)
    max_calls_per_connection: int = _setting(
        128, _integer(1, 100_000), "NPU calls of one connection that may wait", reload=True
    )
    # A conversation is text in memory, and what a model can still take in is a few tens of KB.
    max_sessions_per_user: int = _setting(
        64, _integer(1, 10_000), "sessions of one user; the one used longest ago goes", reload=True
    )
    session_bytes: int = _setting(
        256 * 1024, _integer(1024, 2**24), "text of one session; its oldest turns go", reload=True
    )
    session_hours: int = _setting(
        24, _integer(0, 8760), "a session that nobody used for so many hours is forgotten; 0: never", reload=True
    )
    # Whether the vendor's runtime goes on from a cache is not known, and one of 1000 tokens has 100 MB for an SD card.
    session_caches: str = _setting(
        "auto",
        _choice("auto", "always", "never"),
        "whether prompt caches save a session from being read again; auto: with the portable runtime",
        reload=True,
    )
    # Three quarters of the queue: however many connections one user opens, others find room.
    max_calls_per_user: int = _setting(
        192, _integer(1, 100_000), "NPU calls of one user's connections that may wait", reload=True
    )
    # A record is small, and its result counted below: this only bounds how many there are to look through.
    max_jobs: int = _setting(
        512, _integer(1, 100_000), "detached calls (server.submit) that are kept, ended ones included", reload=True
    )
    # A quarter: one user's script that forgets nothing leaves room for the others'.
    max_jobs_per_user: int = _setting(
        128, _integer(1, 100_000), "detached calls of one user that are kept, ended ones included", reload=True
    )
    # Texts are some kilobytes each; this is for tensors, and a board with 4 GiB does not miss it.
    max_job_bytes: int = _setting(
        64 * 2**20, _integer(65_536, 2**40), "results of detached calls that are kept", reload=True
    )
    # Whoever is served first can keep all others waiting for ever.
    priority_users: tuple[int, ...] = _setting(
        (), _users, "users whose calls may have the priority high (uids or names)", reload=True
    )
    # Where nobody has shown that the vendor's runtimes share the NPU at this moment, they are not made to.
    between_tokens: str = _setting(
        "auto",
        _choice("auto", "always", "never"),
        "whether RKNN calls run between the tokens of a generation; auto: not with the vendor's runtimes",
    )
    # A token takes 30 to 200 ms on the boards: a generation is at most so much slower for each of its tokens.
    between_tokens_ms: int = _setting(
        100, _integer(1, 60_000), "how long RKNN calls may begin to run at one token", reload=True
    )
    timeouts_ms: Mapping[str, int] = _setting(
        DEFAULT_TIMEOUTS_MS,
        _milliseconds_by_method,
        "how long calls of a method may run, and default for all others; 0: for ever",
        reload=True,
    )
    # A prompt of 8192 tokens takes 226 s on an RK3588, one of 16000 more than 300 s.
    first_token_timeout_ms: int = _setting(
        1_800_000, _integer(0, MOST_MS), "how long a generation may take for its first token", reload=True
    )
    # A model of 27 billion parameters makes about one token in a second.
    token_timeout_ms: int = _setting(
        60_000, _integer(0, MOST_MS), "how long a generation may take for its next token", reload=True
    )
    # The queue is bounded and tells the wait; who does not want to wait says so in the call.
    wait_timeout_ms: int = _setting(
        0, _integer(0, MOST_MS), "how long a call may wait for its turn; 0: for ever", reload=True
    )
    # An abort was seen to take effect 1.3 s later, at the end of the prefill.
    grace_ms: int = _setting(
        10_000,
        _integer(0, 3_600_000),
        "how long a call that was stopped may take for it before it is answered",
        reload=True,
    )
    # What the runtimes print is known from public reports alone, and one that prints such a line for less must not stop
    # a robot.
    device_lost_lines: bool = _setting(
        True, _boolean, "whether lines of the runtimes that mean a stuck NPU stop the queue (true, false)", reload=True
    )
    # The driver resets the NPU by itself after a job has failed, and it does so before the runtime says it.
    device_retry_seconds: int = _setting(
        5, _integer(1, 86_400), "how long after a failure of the NPU one call may try it again", reload=True
    )
    # A load that takes the last page brings the kernel to kill somebody, and it may be the model that serves.
    memory_reserve_bytes: int = _setting(
        DEFAULT_RESERVE, _integer(0, 2**40), "memory that no load of a model may take", reload=True
    )
    # The portable runtime's engines abort over files that nobody has made for them, and GGUFs are everywhere. Whether a
    # second process may use the NPU beside the daemon is not known.
    trial_loads: str = _setting(
        "auto",
        _choice("auto", "always", "never"),
        "whether a file is first loaded by a child process, which may die of it; auto: with the portable runtimes",
        reload=True,
    )
    state_directory: str = _setting(
        "/var/lib/rkllmd", _text, "where the daemon keeps what it learns; empty or not writable: nowhere"
    )
    # systemd makes this one (CacheDirectory=). A clean-up of caches may empty it at any time: nothing depends on them.
    cache_directory: str = _setting(
        "/var/cache/rkllmd",
        _text,
        "where prompt caches are kept that have a name instead of a path; empty or not writable: nowhere",
    )
    # A token takes 12 KiB (Qwen2.5 0.5B) to 144 KiB (Qwen3 8B) in half precision: seven system prompts of 1000
    # tokens of a large model, eighty of a small one, on boards that have 8 GB of storage and more.
    cache_bytes: int = _setting(
        2**30, _integer(2**20, 2**44), "how much the prompt caches in cache_directory may take", reload=True
    )

    allowed_directories: tuple[str, ...] = _setting(
        ("/",), _directories, "where models, adapters and prompt caches may be read"
    )
    # A client's path is written to by the daemon's user, so writing has its own and narrower list.
    writable_directories: tuple[str, ...] = _setting(
        ("/tmp", "/var/lib/rkllmd", "/var/cache/rkllmd"), _directories, "where prompt caches may be written"
    )

    # Code of an operator's library runs inside the daemon, so nobody may have it loaded until the operator's own
    # directory is named here.
    operator_directories: tuple[str, ...] = _setting(
        (), _directories, "where libraries of custom RKNN operators may be loaded from"
    )
    # Whoever names a physical address can read and write all of the machine's memory through the NPU.
    allow_physical_addresses: bool = _setting(
        False, _boolean, "whether rknn.create_mem_from_phys is served (true, false)"
    )
    # Tensor memory can't be swapped out, and a client only has to ask for it. A camera's frame takes 6 MB.
    max_memory_bytes: int = _setting(
        2**30, _integer(2**20, 2**40), "tensor memory (rknn.create_mem) of all clients together", reload=True
    )
    max_handles_per_connection: int = _setting(
        256, _integer(1, 100_000), "RKNN contexts and memories of one connection", reload=True
    )

    def reloaded(self, fresh: Config) -> Config:
        """Return this configuration with the settings of ``fresh`` that may change while running."""
        changed = {item.name: getattr(fresh, item.name) for item in fields(self) if item.metadata["reload"]}
        return replace(self, **changed)


def settable_outside() -> list[Field[Any]]:
    """Return the settings that the environment and the command line may give: those with one plain value."""
    return [item for item in fields(Config) if not item.metadata["only_in_file"]]


def environment_name(setting: str) -> str:
    """Return the environment variable of a setting."""
    for item in fields(Config):
        if item.name == setting and item.metadata["env"]:
            return str(item.metadata["env"])
    return f"RKLLM_{setting.upper()}"


def load(environ: Mapping[str, str], flags: Mapping[str, Any], file: Path | None = None) -> Config:
    """Put the configuration together: defaults < ``file`` < ``environ`` < ``flags`` (those that are not None).

    Without ``file``, ``/etc/rkllmd.toml`` is read if it exists. Raises ConfigError.
    """
    values: dict[str, Any] = {}
    path = file or (DEFAULT_FILE if DEFAULT_FILE.exists() else None)
    if path is not None:
        _take(values, _read(path), lambda key: str(path))
    from_environment = {
        item.name: environ[name] for item in settable_outside() if environ.get(name := environment_name(item.name))
    }
    _take(values, from_environment, lambda key: f"environment variable {environment_name(key)}")
    given = {key: value for key, value in flags.items() if value is not None}
    _take(values, given, lambda key: f"option --{key.replace('_', '-')}")
    return Config(**values)


def _read(path: Path) -> dict[str, Any]:
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


def _take(values: dict[str, Any], found: Mapping[str, Any], origin: Callable[[str], str]) -> None:
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
