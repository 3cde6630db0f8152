"""Where files may be read and written, and how much of conversations and caches is kept."""

from __future__ import annotations

from rkllmd.config.values import directories, integer, setting, text, when
from rkllmd.quick_dataclass import dataclass


@dataclass(init=False, frozen=True)
class FileSettings:
    """The settings of directories, and of what is kept in them or for a while in memory."""

    state_directory: str = setting(
        "/var/lib/rkllmd", text, "where the daemon keeps what it learns; empty or not writable: in memory alone"
    )
    # systemd makes this one (CacheDirectory=). Something that cleans up caches may empty it: nothing depends on it.
    cache_directory: str = setting(
        "/var/cache/rkllmd",
        text,
        "where prompt caches are kept that have a name instead of a path; empty or not writable: nowhere",
    )
    # A token takes 12 KiB (Qwen2.5 0.5B) to 144 KiB (Qwen3 8B) in half precision: seven system prompts of 1000
    # tokens of a large model, eighty of a small one, on boards that have 8 GB of storage and more.
    cache_bytes: int = setting(
        2**30, integer(2**20, 2**44), "how much the prompt caches in cache_directory may take", reload=True
    )
    # Clients' paths are on the system's disk as a rule, which has little room beside the system.
    saved_cache_bytes: int = setting(
        2**31, integer(0, 2**44), "how much the prompt caches may take that clients save to paths", reload=True
    )
    saved_cache_bytes_per_user: int = setting(
        2**30, integer(0, 2**44), "how much those of one user may take", reload=True
    )
    allowed_directories: tuple[str, ...] = setting(
        ("/",), directories, "where models, adapters and prompt caches may be read"
    )
    # A client's path is written to by the daemon's user, so writing has its own and narrower list. Not /tmp: there any
    # user may make and remove what others use, and it is memory on many boards.
    writable_directories: tuple[str, ...] = setting(
        ("/var/lib/rkllmd", "/var/cache/rkllmd"), directories, "where prompt caches may be written"
    )
    # The code of a custom operator's library runs inside the daemon, so none can be loaded until a directory is named
    # here.
    operator_directories: tuple[str, ...] = setting(
        (), directories, "where libraries of custom RKNN operators may be loaded from"
    )
    # A conversation is text in memory, and a model's context takes a few tens of KB of it.
    max_sessions_per_user: int = setting(
        64, integer(1, 10_000), "sessions of one user; the one used longest ago goes", reload=True
    )
    session_bytes: int = setting(
        256 * 1024, integer(1024, 2**24), "text of one session; its oldest turns go", reload=True
    )
    session_hours: int = setting(
        24, integer(0, 8760), "a session that nobody used for so many hours is forgotten; 0: never", reload=True
    )
    # Whether the vendor's runtime goes on from a cache is not known, and one of 1000 tokens is 100 MB on an SD card.
    session_caches: str = setting(
        "auto",
        when,
        "whether prompt caches save a session from being read again; auto: with the portable runtime",
        reload=True,
    )
    # See cache_bytes for what a token takes. It is given back before a model is loaded.
    session_memory_bytes: int = setting(2**28, integer(0, 2**40), "memory for sessions out of turn", reload=True)
