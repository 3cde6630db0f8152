"""How much each user may have of what there is a limited number of. It decides, without I/O.

Every such limit is for all users together. One user may have a part of it, so that the others find room however much
that user takes, and some of it is left for operators, so that they can always look and stop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rkllmd.quick_dataclass import dataclass

if TYPE_CHECKING:
    from rkllmd.config.settings import Config
    from rkllmd.json_types import JsonObject

# What one user may have where the configuration says nothing else: enough for one who is alone, and a quarter for the
# others.
_SHARE: Final = 0.75
# What is left for operators: enough for a few calls and their objects.
_RESERVE: Final = 1 / 16


@dataclass(frozen=True, slots=True)
class Exceeded:
    """A limit that one thing more would exceed, the setting that it comes from, and whose it is: user or all."""

    setting: str
    limit: int
    used: int
    whose: str

    @property
    def data(self) -> JsonObject:
        """Return what the data of an error says about it."""
        return {"setting": self.setting, "limit": self.limit, "used": self.used, "whose": self.whose}

    @property
    def have(self) -> str:
        """Return the beginning of a sentence: who has too much of it."""
        return "This user has" if self.whose == "user" else "All users together have"


@dataclass(frozen=True, slots=True)
class Quota:
    """A limit for all, ``total``, of which one user may have ``of_user``, and all without operators ``of_others``."""

    setting: str
    setting_of_user: str
    total: int
    of_user: int
    of_others: int

    def exceeded(self, used_by_user: int, used: int, *, is_operator: bool, more: int = 1) -> Exceeded | None:
        """Return which limit ``more`` would exceed for a user; None if it may have them."""
        if not is_operator and used_by_user + more > self.of_user:
            return Exceeded(self.setting_of_user, self.of_user, used_by_user, "user")
        limit = self.total if is_operator else self.of_others
        return Exceeded(self.setting, limit, used, "all") if used + more > limit else None

    @property
    def least(self) -> int:
        """Return how many there may be whoever has them."""
        return min(self.total, self.of_user, self.of_others)


def quota(setting: str, total: int, of_user: int, *, reserve: int | None = None, name_of_share: str = "") -> Quota:
    """Return the quota of a setting.

    ``of_user`` 0: the usual share. ``reserve``: how many are for operators alone; None: the usual part.
    ``name_of_share``: the setting of a user's share, if its name does not follow from that of the total.
    """
    kept = usual_reserve(total) if reserve is None else reserve
    return Quota(
        setting,
        name_of_share or f"{setting}_per_user",
        total,
        of_user or max(1, int(total * _SHARE)),
        max(1, total - kept),
    )


def usual_reserve(total: int) -> int:
    """Return how much of a total is for operators alone where the configuration has no setting for that."""
    return int(total * _RESERVE)


def connections(config: Config) -> Quota:
    """Return the quota of connections."""
    reserve = config.reserved_connections
    return quota("max_connections", config.max_connections, config.max_connections_per_user, reserve=reserve)


def handles(config: Config) -> Quota:
    """Return the quota of RKNN contexts, matmul contexts and tensor memories."""
    return quota("max_handles", config.max_handles, config.max_handles_per_user)


def memory(config: Config) -> Quota:
    """Return the quota of bytes of tensor memory."""
    return quota("max_memory_bytes", config.max_memory_bytes, config.max_memory_bytes_per_user)


def jobs(config: Config) -> Quota:
    """Return the quota of detached calls that are kept."""
    return quota("max_jobs", config.max_jobs, config.max_jobs_per_user)


def job_bytes(config: Config) -> Quota:
    """Return the quota of bytes that detached calls which wait were given; a user has the usual share."""
    return quota("max_job_bytes", config.max_job_bytes, 0, name_of_share="max_job_bytes")


def models(config: Config) -> Quota:
    """Return the quota of loaded language models: there are so few that none is kept from anybody, unless asked for."""
    most = config.max_models
    return quota("max_models", most, config.max_models_per_user or most, reserve=0)
