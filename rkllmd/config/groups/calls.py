"""How many calls may wait or be kept, who goes first, and how many objects of RKNN clients may have."""

from __future__ import annotations

from rkllmd.config.values import boolean, integer, setting, users, when
from rkllmd.quick_dataclass import dataclass


@dataclass(init=False, frozen=True)
class CallSettings:
    """The settings of the queue, of detached calls, and of objects that outlive a call."""

    # QMP stops reading at 8 calls; ours are answered concurrently, so this only bounds memory.
    max_queue: int = setting(256, integer(1, 100_000), "NPU calls that may wait", reload=True)
    max_calls_per_connection: int = setting(
        128, integer(1, 100_000), "NPU calls of one connection that may wait", reload=True
    )
    # Three quarters of the queue: however many connections one user opens, others find room.
    max_calls_per_user: int = setting(
        192, integer(1, 100_000), "NPU calls of one user's connections that may wait", reload=True
    )
    # A record is small, and its result is counted below: this only bounds how many there are to look through.
    max_jobs: int = setting(
        512, integer(1, 100_000), "detached calls (server.submit) that are kept, ended ones included", reload=True
    )
    # A quarter: a user's script that forgets none of its calls leaves room for those of others.
    max_jobs_per_user: int = setting(
        128, integer(1, 100_000), "detached calls of one user that are kept, ended ones included", reload=True
    )
    # Texts have some kilobytes each; this much is for tensors, and a board with 4 GiB can spare it.
    max_job_bytes: int = setting(
        64 * 2**20,
        integer(65_536, 2**40),
        "results of detached calls that are kept, and what those that have not ended were given",
        reload=True,
    )
    # Whoever is always served first can keep all others waiting for ever.
    priority_users: tuple[int, ...] = setting(
        (), users, "users whose calls may have the priority high (uids or names)", reload=True
    )
    # Nobody has shown that the vendor's runtimes can share the NPU between two tokens, so by default they do not.
    between_tokens: str = setting(
        "auto",
        when,
        "whether RKNN calls run between the tokens of a generation; auto: not with the vendor's runtimes",
    )
    # A token takes 30 to 200 ms on the boards: a generation is at most this much slower for each of its tokens.
    between_tokens_ms: int = setting(
        100, integer(1, 60_000), "how long RKNN calls may begin to run at one token", reload=True
    )
    # Whoever names a physical address can read and write all of the machine's memory through the NPU.
    allow_physical_addresses: bool = setting(
        False, boolean, "whether rknn.create_mem_from_phys is served (true, false)"
    )
    # Tensor memory can't be swapped out, and a client gets it for the asking. A camera's frame takes 6 MB.
    max_memory_bytes: int = setting(
        2**30, integer(2**20, 2**40), "tensor memory (rknn.create_mem) of all clients together", reload=True
    )
    max_memory_bytes_per_user: int = setting(
        0, integer(0, 2**40), "tensor memory of one user; 0: three quarters of max_memory_bytes", reload=True
    )
    max_handles_per_connection: int = setting(
        256,
        integer(1, 100_000),
        "RKNN contexts and memories of one connection, without those that are kept",
        reload=True,
    )
    # Each has a descriptor and some kilobytes; a program that forgets to destroy its own is stopped here.
    max_handles: int = setting(
        4096, integer(1, 100_000), "RKNN contexts and memories of all clients together", reload=True
    )
    max_handles_per_user: int = setting(
        0, integer(0, 100_000), "RKNN contexts and memories of one user; 0: three quarters of max_handles", reload=True
    )
