"""Who may connect and who decides what, and how much a connection may send and leave unread."""

from __future__ import annotations

from rkllmd.config.values import choice, integer, setting, users
from rkllmd.quick_dataclass import dataclass


@dataclass(init=False, frozen=True)
class ClientSettings:
    """The settings of connections."""

    # bitcoind documents that several hundred connections can crash it, since it runs out of descriptors. So there is a
    # bound, and at the start the soft limit of open files is raised to the hard one.
    max_connections: int = setting(
        100, integer(1, 10_000), "connections at once", env="RKLLM_MAX_CONNECTIONS", reload=True
    )
    # Three quarters, as of the calls that may wait: one user's script that forgets to close leaves room for the others.
    max_connections_per_user: int = setting(
        75, integer(1, 10_000), "connections of one user at once; operators have no such limit", reload=True
    )
    # Enough to ask what is going on, and to stop it: a shell or two with a few commands at once.
    reserved_connections: int = setting(
        5, integer(0, 1000), "of the connections, how many are left for operators alone", reload=True
    )
    # Who looks after the machine: root and the daemon's own user can stop the daemon anyway.
    operator_users: tuple[int, ...] = setting(
        (), users, "users who look after the daemon, beside root and its own (uids or names)", reload=True
    )
    # A board with several services: one loads what others only use. On a board with one person, nobody has to be kept
    # from anything.
    authority: str = setting(
        "owner",
        choice("owner", "operator", "everybody"),
        "who may change, unload or stop what others use too: the user that made it and operators, operators alone, or "
        "everybody",
        reload=True,
    )
    # 16 MiB is what sd-varlink and containerd take.
    max_line_bytes: int = setting(16 * 2**20, integer(1024, 2**30), "longest line from a client", reload=True)
    # An image of 640 x 640 pixels in nested arrays has 1.6 million. QEMU takes 2 Mi tokens. To parse this many holds up
    # everybody for a tenth of a second.
    max_values_per_request: int = setting(
        2 * 2**20,
        integer(1024, 2**30),
        "JSON values of one line; of these, a quarter may be arrays and objects, and 1/32 members of objects",
        reload=True,
    )
    # One user gets half of it: 256 MiB leave a board of 2 GiB room for a model, and the longest line takes up to 200.
    request_memory_bytes: int = setting(
        0,
        integer(2**20, 2**40, or_zero=True),
        "memory of requests and unread answers, half of it for one user's; 0: 512 MiB, at most a quarter of all memory",
        reload=True,
    )
    # MPD drops a client at 8 MiB of unread output, geth after 10 s without progress.
    outbox_bytes: int = setting(8 * 2**20, integer(65_536, 2**30), "unread output that drops a client", reload=True)
    outbox_seconds: int = setting(10, integer(1, 3600), "seconds without progress that drop a client", reload=True)
