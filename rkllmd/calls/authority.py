"""Who may change, unload or stop what several users share (the setting ``authority``). It decides, without I/O.

To use a shared thing, to run it or to read it, is open to everybody who can connect. A method that changes one declares
that (``alters``, ``calls/declaration.py``), and asks nobody itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from rkllmd.errors import PermissionDenied
from rkllmd.machine.disk.seeing import Viewer

if TYPE_CHECKING:
    from rkllmd.calls.invocation import Client
    from rkllmd.config.settings import Config

# A user is a uid; None is the daemon itself, which does what its operators have configured.


def may(config: Config, user: int | None, owner: int | None) -> bool:
    """Return whether ``user`` may change what ``owner`` has made."""
    if user is None or config.is_operator(user) or config.authority == "everybody":
        return True
    return config.authority == "owner" and user == owner


def check(config: Config, user: int | None, owner: int | None, what: str, handle: int) -> None:
    """Refuse a change of a shared thing by somebody who may not do it. Raises PermissionDenied."""
    if may(config, user, owner):
        return
    if owner is None or config.authority == "operator":
        who = "only operators (root, the daemon's user, operator_users) may change or unload it"
    else:
        who = f"it belongs to uid {owner}, and only that user and operators may change or unload it"
    raise PermissionDenied(
        f'{what} {handle} is shared: {who}, unless the configuration says authority = "everybody".',
        setting="authority",
        handle=handle,
        owner=owner,
    )


def check_end(config: Config, user: int | None, owner: int | None, what: str) -> None:
    """Refuse to end another user's run or conversation, as ``what`` says; everybody may end their own.

    Raises PermissionDenied.
    """
    if user == owner or may(config, user, owner):
        return
    raise PermissionDenied(
        f"{what} is another user's: only that user and operators may end it, unless the configuration says "
        'authority = "everybody".',
        setting="authority",
        owner=owner,
    )


def viewer(client: Client, config: Config) -> Viewer | None:
    """Return whose permissions count for the paths that a client names; None: those of the daemon are no wider.

    What lies in directories that the operator has set up for clients is shown to all of them.
    """
    return viewer_of(client.user, client.groups, config)


def viewer_of(user: int | None, groups: Iterable[int], config: Config) -> Viewer | None:
    """Return the same for a user and its groups, whose client may have gone."""
    if user is None or user in (0, os.geteuid()):
        return None
    shown = (config.model_directory, *config.writable_directories, *config.operator_directories)
    return Viewer(user, frozenset(groups), tuple(directory for directory in shown if directory))
