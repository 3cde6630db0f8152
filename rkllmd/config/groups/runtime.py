"""Which libraries serve, on which SoC, and what is known of them in single versions."""

from __future__ import annotations

from rkllmd.config.socs import SOCS
from rkllmd.config.values import choice, core_mask, cpu_mask, setting, text, when
from rkllmd.quick_dataclass import dataclass


@dataclass(init=False, frozen=True)
class RuntimeSettings:
    """The settings of the libraries and the board."""

    runtime: str = setting(
        "auto",
        choice("auto", "vendor", "portable", "simulator"),
        "which library serves: the vendor's where an NPU is found, else the portable one; simulator: a test library",
    )
    rkllm_library: str = setting("", text, "path of librkllmrt.so, or its directory", env="RKLLM_LIB_PATH")
    rknn_library: str = setting("", text, "path of librknnrt.so, or its directory", env="RKNN_LIB_PATH")
    # The version string in the file decides; this is the way out for a runtime that is newer than this daemon.
    rkllm_layout: str = setting("auto", choice("auto", "1.2", "1.3", "1.3.1"), "struct layout of the RKLLM library")
    # As above; rknn_api.h of other versions differs from the one that this daemon knows, in places nobody has listed.
    rknn_layout: str = setting("auto", choice("auto", "2.3.2"), "struct layout of the RKNN library")
    # Reports say that rkllm_run_async hung or gave empty text before 1.2.2, whose change log says that it was fixed.
    run_async_calls: str = setting(
        "auto",
        choice("auto", "rkllm_run", "rkllm_run_async"),
        "the C function behind rkllm.run_async; auto: rkllm_run below runtime 1.2.2",
    )
    # It was once reported to hang on 1.2.1.
    is_running_calls: str = setting(
        "auto",
        when,
        "whether the worker asks rkllm_is_running around a run of rkllm_run_async; auto: from runtime 1.2.2 on",
    )
    # Whether the cache of a paused run has the token that it was paused at; where this is wrong, answers fit as well.
    format_by: str = setting(
        "auto", choice("auto", "pauses", "pauses_uncached"), "how a format is kept; auto: by tokens, else by pauses"
    )
    # Containers hide the device tree, and new boards are in no table yet.
    soc: str = setting("auto", choice("auto", *SOCS), "which SoC it is; auto: what the machine says")
    # enabled_cpus_num follows from it. A model that runs on the slow processors is slower, and one that gets fewer than
    # it has NPU cores does not load.
    enabled_cpus_mask: str | int = setting(
        "auto", cpu_mask, "processors for language models, CPU0 = 1 (0xF0); auto: by the SoC, else the runtime's own"
    )
    # The runtime balances contexts over the cores by itself.
    rknn_core_mask: str | int = setting(
        "auto", core_mask, "NPU cores for RKNN models (1, RKNN_NPU_CORE_0_1); auto: the runtime's own choice"
    )
    # The engines of the portable runtimes abort over files that were not made for them, and GGUF files are everywhere.
    # Whether a second process may use the NPU beside the daemon is not known.
    trial_loads: str = setting(
        "auto",
        when,
        "whether a file is first loaded by a child process, which may die of it; auto: with the portable runtimes",
        reload=True,
    )
