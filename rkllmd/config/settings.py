"""Every setting: its default with the reason, its limits, and whether SIGHUP takes it over.

How they are put together from the file, the environment and the command line is in ``config/sources.py``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import Field, fields, replace
from functools import cache
from typing import TYPE_CHECKING

from rkllmd.config.socs import SOCS
from rkllmd.config.values import (
    DEFAULT_RESERVE,
    DEFAULT_TIMEOUTS_MS,
    boolean,
    choice,
    core_mask,
    cpu_mask,
    directories,
    integer,
    milliseconds_by_method,
    minutes,
    optional_directory,
    socket_path,
    text,
    users,
)
from rkllmd.config.values import setting as _setting
from rkllmd.quick_dataclass import dataclass
from rkllmd.wire.members import MOST_MS

if TYPE_CHECKING:
    from rkllmd.config.declared import DeclaredModel


def _models(value: object) -> tuple[DeclaredModel, ...]:
    if value == ():
        return ()
    from rkllmd.config import declared  # it brings the schemas of the methods, which a client does not need

    return declared.parse(value)


@dataclass(frozen=True, slots=True)
class Config:
    """The settings in force. ``reload`` marks those that SIGHUP takes over without a restart."""

    socket: str = _setting("/tmp/rkllm.sock", socket_path, "path of the Unix socket", env="RKLLM_UDS_PATH")

    runtime: str = _setting(
        "auto",
        choice("auto", "vendor", "portable", "simulator"),
        "which library serves: the vendor's where an NPU is found, else the portable one; simulator: a test library",
    )
    rkllm_library: str = _setting("", text, "path of librkllmrt.so, or its directory", env="RKLLM_LIB_PATH")
    rknn_library: str = _setting("", text, "path of librknnrt.so, or its directory", env="RKNN_LIB_PATH")
    # The version string in the file decides; this is the way out for a runtime that is newer than this daemon.
    rkllm_layout: str = _setting("auto", choice("auto", "1.2", "1.3", "1.3.1"), "struct layout of the RKLLM library")
    # As above; rknn_api.h of other versions differs from the one that this daemon knows, in places nobody has listed.
    rknn_layout: str = _setting("auto", choice("auto", "2.3.2"), "struct layout of the RKNN library")
    # Reports say that rkllm_run_async hung or gave empty text before 1.2.2, whose change log says that it was fixed.
    run_async_calls: str = _setting(
        "auto",
        choice("auto", "rkllm_run", "rkllm_run_async"),
        "the C function behind rkllm.run_async; auto: rkllm_run below runtime 1.2.2",
    )
    # It was once reported to hang on 1.2.1.
    is_running_calls: str = _setting(
        "auto",
        choice("auto", "always", "never"),
        "whether the worker asks rkllm_is_running around a run of rkllm_run_async; auto: from runtime 1.2.2 on",
    )
    # Whether the cache of a paused run has the token that it was paused at; where this is wrong, answers fit as well.
    format_by: str = _setting(
        "auto", choice("auto", "pauses", "pauses_uncached"), "how a format is kept; auto: by tokens, else by pauses"
    )
    # Containers hide the device tree, and new boards are in no table yet.
    soc: str = _setting("auto", choice("auto", *SOCS), "which SoC it is; auto: what the machine says")
    # enabled_cpus_num follows from it. A model that runs on the slow processors is slower, and one that gets fewer than
    # it has NPU cores does not load.
    enabled_cpus_mask: str | int = _setting(
        "auto", cpu_mask, "processors for language models, CPU0 = 1 (0xF0); auto: by the SoC, else the runtime's own"
    )
    # The runtime balances contexts over the cores by itself.
    rknn_core_mask: str | int = _setting(
        "auto", core_mask, "NPU cores for RKNN models (1, RKNN_NPU_CORE_0_1); auto: the runtime's own choice"
    )
    model: str = _setting(
        "", text, "a model to load at start, or the name of a declared one; 'demo' is the portable runtime's own"
    )
    # Rockchip's examples take 512 to 4096; what fits depends on the model and the memory.
    max_context_len: int = _setting(
        0,
        integer(0, 2**24),
        "tokens of context for models that are loaded without a length; 0: the runtime's default",
        reload=True,
    )
    models: tuple[DeclaredModel, ...] = _setting(
        (), _models, "the models that may be loaded by a name: [models.NAME]", reload=True, only_in_file=True
    )
    # Clients of servers that kept their models in one place say only what is below it.
    model_directory: str = _setting(
        "", optional_directory, "where relative paths of models and adapters begin; empty: none are taken", reload=True
    )
    # A client that asks for another model would take the loaded one from all others: the operator has to allow that.
    second_init: str = _setting(
        "refuse",
        choice("refuse", "replace"),
        "what rkllm.init of another model does where no more may be loaded: refuse, replace the one unused for longest",
        reload=True,
    )
    # A second load that does not fit has taken the first model down with it, so the operator has to ask for several.
    max_models: int = _setting(1, integer(1, 8), "how many language models may be loaded at once")
    max_models_per_user: int = _setting(
        0, integer(0, 8), "how many of them one user may have loaded; 0: as many as there may be", reload=True
    )
    # To load it again takes up to a minute and loses the conversation: the operator knows whether memory is worth that.
    model_idle_minutes: float = _setting(
        0.0, minutes, "unload a language model that nobody used for so many minutes; 0: never", reload=True
    )

    # Runtimes 1.2.1 and 1.2.2 were reported to crash with n_batch above 1, and what one does with a batch in which some
    # entries end early was never seen. The portable runtime's batches are ours, and proven.
    coalesce: str = _setting(
        "auto",
        choice("auto", "always", "never"),
        "whether runs of several clients share the batches of a model with n_batch above 1; auto: with the portable "
        "runtime",
        reload=True,
    )

    # SIGHUP is the reload of a service and the end of a terminal; which of them it is follows from where stderr leads.
    ends_with: str = _setting(
        "auto",
        choice("auto", "nothing", "terminal", "parent"),
        "what ends the daemon beside its own signals: its terminal (SIGHUP ends it instead of a reload), the process "
        "that started it (and SIGHUP), or nothing; auto: the terminal where stderr is one",
    )

    # RKLLM_LOG_LEVEL is also read by the vendor's runtime, which prints its performance table from 1 on.
    log_level: int = _setting(
        2, integer(0, 3), "0 errors, 1 warnings, 2 information, 3 debug", env="RKLLM_LOG_LEVEL", reload=True
    )

    # bitcoind documents that several hundred connections can crash it, since it runs out of descriptors. So there is a
    # bound, and at the start the soft limit of open files is raised to the hard one.
    max_connections: int = _setting(
        100, integer(1, 10_000), "connections at once", env="RKLLM_MAX_CONNECTIONS", reload=True
    )
    # Three quarters, as of the calls that may wait: one user's script that forgets to close leaves room for the others.
    max_connections_per_user: int = _setting(
        75, integer(1, 10_000), "connections of one user at once; operators have no such limit", reload=True
    )
    # Enough to ask what is going on, and to stop it: a shell or two with a few commands at once.
    reserved_connections: int = _setting(
        5, integer(0, 1000), "of the connections, how many are left for operators alone", reload=True
    )
    # Who looks after the machine: root and the daemon's own user can stop the daemon anyway.
    operator_users: tuple[int, ...] = _setting(
        (), users, "users who look after the daemon, beside root and its own (uids or names)", reload=True
    )
    # A board with several services: one loads what others only use. On a board with one person, nobody has to be kept
    # from anything.
    authority: str = _setting(
        "owner",
        choice("owner", "operator", "everybody"),
        "who may change, unload or stop what others use too: the user that made it and operators, operators alone, or "
        "everybody",
        reload=True,
    )
    # 16 MiB is what sd-varlink and containerd take.
    max_line_bytes: int = _setting(16 * 2**20, integer(1024, 2**30), "longest line from a client", reload=True)
    # An image of 640 x 640 pixels in nested arrays has 1.6 million. QEMU takes 2 Mi tokens. To parse so many holds up
    # everybody for a tenth of a second.
    max_values_per_request: int = _setting(
        2 * 2**20,
        integer(1024, 2**30),
        "JSON values of one line; of these, a quarter may be arrays and objects, and 1/32 members of objects",
        reload=True,
    )
    # One user gets half of it: 256 MiB leave a board of 2 GiB room for a model, and the longest line takes up to 200.
    request_memory_bytes: int = _setting(
        0,
        integer(2**20, 2**40, or_zero=True),
        "memory of requests and unread answers, half of it for one user's; 0: 512 MiB, at most a quarter of all memory",
        reload=True,
    )
    # MPD drops a client at 8 MiB of unread output, geth after 10 s without progress.
    outbox_bytes: int = _setting(8 * 2**20, integer(65_536, 2**30), "unread output that drops a client", reload=True)
    outbox_seconds: int = _setting(10, integer(1, 3600), "seconds without progress that drop a client", reload=True)
    # QMP stops reading at 8 calls; ours are answered concurrently, so this only bounds memory.
    max_queue: int = _setting(256, integer(1, 100_000), "NPU calls that may wait", reload=True)
    max_calls_per_connection: int = _setting(
        128, integer(1, 100_000), "NPU calls of one connection that may wait", reload=True
    )
    # A conversation is text in memory, and a model's context takes a few tens of KB of it.
    max_sessions_per_user: int = _setting(
        64, integer(1, 10_000), "sessions of one user; the one used longest ago goes", reload=True
    )
    session_bytes: int = _setting(
        256 * 1024, integer(1024, 2**24), "text of one session; its oldest turns go", reload=True
    )
    session_hours: int = _setting(
        24, integer(0, 8760), "a session that nobody used for so many hours is forgotten; 0: never", reload=True
    )
    # Whether the vendor's runtime goes on from a cache is not known, and one of 1000 tokens is 100 MB on an SD card.
    session_caches: str = _setting(
        "auto",
        choice("auto", "always", "never"),
        "whether prompt caches save a session from being read again; auto: with the portable runtime",
        reload=True,
    )
    # See cache_bytes for what a token takes. It is given back before a model is loaded.
    session_memory_bytes: int = _setting(2**28, integer(0, 2**40), "memory for sessions out of turn", reload=True)
    # Three quarters of the queue: however many connections one user opens, others find room.
    max_calls_per_user: int = _setting(
        192, integer(1, 100_000), "NPU calls of one user's connections that may wait", reload=True
    )
    # A record is small, and its result is counted below: this only bounds how many there are to look through.
    max_jobs: int = _setting(
        512, integer(1, 100_000), "detached calls (server.submit) that are kept, ended ones included", reload=True
    )
    # A quarter: a user's script that forgets none of its calls leaves room for those of others.
    max_jobs_per_user: int = _setting(
        128, integer(1, 100_000), "detached calls of one user that are kept, ended ones included", reload=True
    )
    # Texts have some kilobytes each; so much is for tensors, and a board with 4 GiB can spare it.
    max_job_bytes: int = _setting(
        64 * 2**20,
        integer(65_536, 2**40),
        "results of detached calls that are kept, and what those that have not ended were given",
        reload=True,
    )
    # Whoever is always served first can keep all others waiting for ever.
    priority_users: tuple[int, ...] = _setting(
        (), users, "users whose calls may have the priority high (uids or names)", reload=True
    )
    # Nobody has shown that the vendor's runtimes can share the NPU between two tokens, so by default they do not.
    between_tokens: str = _setting(
        "auto",
        choice("auto", "always", "never"),
        "whether RKNN calls run between the tokens of a generation; auto: not with the vendor's runtimes",
    )
    # A token takes 30 to 200 ms on the boards: a generation is at most so much slower for each of its tokens.
    between_tokens_ms: int = _setting(
        100, integer(1, 60_000), "how long RKNN calls may begin to run at one token", reload=True
    )
    timeouts_ms: Mapping[str, int] = _setting(
        DEFAULT_TIMEOUTS_MS,
        milliseconds_by_method,
        "how long calls of a method may run, and default for all others; 0: for ever",
        reload=True,
    )
    # A prompt of 8192 tokens takes 226 s on an RK3588, one of 16000 more than 300 s.
    first_token_timeout_ms: int = _setting(
        1_800_000, integer(0, MOST_MS), "how long a generation may take for its first token", reload=True
    )
    # A model of 27 billion parameters makes about one token in a second.
    token_timeout_ms: int = _setting(
        60_000, integer(0, MOST_MS), "how long a generation may take for its next token", reload=True
    )
    # At a token in a second, a whole context of 4096 tokens.
    run_timeout_ms: int = _setting(
        3_600_000, integer(0, MOST_MS), "how long a generation may take in all; 0: for ever", reload=True
    )
    # The queue is bounded and a client can see the wait; a client that does not want to wait says so in the call.
    wait_timeout_ms: int = _setting(
        0, integer(0, MOST_MS), "how long a call may wait for its turn; 0: for ever", reload=True
    )
    # An abort was seen to take effect 1.3 s later, at the end of the prefill.
    grace_ms: int = _setting(
        10_000,
        integer(0, 3_600_000),
        "how long a call that was stopped may take for it before it is answered",
        reload=True,
    )
    # What the runtimes print is known from public reports alone. If one prints such a line for something harmless, a
    # robot must not stop because of it.
    device_lost_lines: bool = _setting(
        True, boolean, "whether lines of the runtimes that mean a stuck NPU stop the queue (true, false)", reload=True
    )
    # The driver resets the NPU by itself after a job has failed, and before the runtime reports the failure.
    device_retry_seconds: int = _setting(
        5, integer(1, 86_400), "how long after a failure of the NPU one call may try it again", reload=True
    )
    # A prefill keeps processor and NPU busy.
    no_progress_seconds: int = _setting(
        300,
        integer(0, 86_400),
        "how long before its first token a generation may show no sign of life (CPU time, NPU load); 0: for ever",
        reload=True,
    )
    # A new process gets the device anew.
    device_lost_seconds: int = _setting(
        120,
        integer(0, 86_400),
        "how long the NPU may be stuck before the daemon ends itself, to be started anew; 0: for ever",
        reload=True,
    )
    # A load that takes the last page of memory makes the kernel kill a process, perhaps the one that serves.
    memory_reserve_bytes: int = _setting(
        DEFAULT_RESERVE, integer(0, 2**40), "memory that no load of a model may take", reload=True
    )
    # The engines of the portable runtimes abort over files that were not made for them, and GGUF files are everywhere.
    # Whether a second process may use the NPU beside the daemon is not known.
    trial_loads: str = _setting(
        "auto",
        choice("auto", "always", "never"),
        "whether a file is first loaded by a child process, which may die of it; auto: with the portable runtimes",
        reload=True,
    )
    state_directory: str = _setting(
        "/var/lib/rkllmd", text, "where the daemon keeps what it learns; empty or not writable: in memory alone"
    )
    # systemd makes this one (CacheDirectory=). Something that cleans up caches may empty it: nothing depends on it.
    cache_directory: str = _setting(
        "/var/cache/rkllmd",
        text,
        "where prompt caches are kept that have a name instead of a path; empty or not writable: nowhere",
    )
    # A token takes 12 KiB (Qwen2.5 0.5B) to 144 KiB (Qwen3 8B) in half precision: seven system prompts of 1000
    # tokens of a large model, eighty of a small one, on boards that have 8 GB of storage and more.
    cache_bytes: int = _setting(
        2**30, integer(2**20, 2**44), "how much the prompt caches in cache_directory may take", reload=True
    )

    # Clients' paths are on the system's disk as a rule, which has little room beside the system.
    saved_cache_bytes: int = _setting(
        2**31, integer(0, 2**44), "how much the prompt caches may take that clients save to paths", reload=True
    )
    saved_cache_bytes_per_user: int = _setting(
        2**30, integer(0, 2**44), "how much those of one user may take", reload=True
    )

    allowed_directories: tuple[str, ...] = _setting(
        ("/",), directories, "where models, adapters and prompt caches may be read"
    )
    # A client's path is written to by the daemon's user, so writing has its own and narrower list. Not /tmp: there any
    # user may make and remove what others use, and it is memory on many boards.
    writable_directories: tuple[str, ...] = _setting(
        ("/var/lib/rkllmd", "/var/cache/rkllmd"), directories, "where prompt caches may be written"
    )

    # The code of a custom operator's library runs inside the daemon, so none can be loaded until a directory is named
    # here.
    operator_directories: tuple[str, ...] = _setting(
        (), directories, "where libraries of custom RKNN operators may be loaded from"
    )
    # Whoever names a physical address can read and write all of the machine's memory through the NPU.
    allow_physical_addresses: bool = _setting(
        False, boolean, "whether rknn.create_mem_from_phys is served (true, false)"
    )
    # Tensor memory can't be swapped out, and a client gets it for the asking. A camera's frame takes 6 MB.
    max_memory_bytes: int = _setting(
        2**30, integer(2**20, 2**40), "tensor memory (rknn.create_mem) of all clients together", reload=True
    )
    max_memory_bytes_per_user: int = _setting(
        0, integer(0, 2**40), "tensor memory of one user; 0: three quarters of max_memory_bytes", reload=True
    )
    max_handles_per_connection: int = _setting(
        256,
        integer(1, 100_000),
        "RKNN contexts and memories of one connection, without those that are kept",
        reload=True,
    )
    # Each has a descriptor and some kilobytes; a program that forgets to destroy its own is stopped here.
    max_handles: int = _setting(
        4096, integer(1, 100_000), "RKNN contexts and memories of all clients together", reload=True
    )
    max_handles_per_user: int = _setting(
        0, integer(0, 100_000), "RKNN contexts and memories of one user; 0: three quarters of max_handles", reload=True
    )

    def is_operator(self, user: int | None) -> bool:
        """Return whether a user looks after this daemon; None is nobody that the kernel knows."""
        return user is not None and (user in (0, os.geteuid()) or user in self.operator_users)

    def reloaded(self, fresh: Config) -> Config:
        """Return this configuration with the settings of ``fresh`` that may change while running."""
        changed = {item.name: getattr(fresh, item.name) for item in fields(self) if item.metadata["reload"]}
        return replace(self, **changed)


def settable_outside() -> list[Field[object]]:
    """Return the settings that the environment and the command line may give: those that are one plain value."""
    return [item for item in fields(Config) if not item.metadata["only_in_file"]]


@cache
def _environment_names() -> dict[str, str]:
    return {item.name: item.metadata["env"] or f"RKLLM_{item.name.upper()}" for item in fields(Config)}


def environment_name(setting: str) -> str:
    """Return the environment variable of a setting."""
    return _environment_names()[setting]
