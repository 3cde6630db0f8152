"""The daemon as a process: where it is found, what ends it, what it logs."""

from __future__ import annotations

from rkllmd.config.values import choice, integer, setting, socket_path
from rkllmd.quick_dataclass import dataclass


@dataclass(init=False, frozen=True)
class ProcessSettings:
    """The settings of the daemon as a process."""

    socket: str = setting("/tmp/rkllm.sock", socket_path, "path of the Unix socket", env="RKLLM_UDS_PATH")
    # SIGHUP is the reload of a service and the end of a terminal; which of them it is follows from where stderr leads.
    ends_with: str = setting(
        "auto",
        choice("auto", "nothing", "terminal", "parent"),
        "what ends the daemon beside its own signals: its terminal (SIGHUP ends it instead of a reload), the process "
        "that started it (and SIGHUP), or nothing; auto: the terminal where stderr is one",
    )
    # RKLLM_LOG_LEVEL is also read by the vendor's runtime, which prints its performance table from 1 on.
    log_level: int = setting(
        2, integer(0, 3), "0 errors, 1 warnings, 2 information, 3 debug", env="RKLLM_LOG_LEVEL", reload=True
    )
