"""What a POSIX access control list grants: acl(5), in the form in which the kernel shows it to everybody (getxattr(2)).

Asking the kernel instead (faccessat2(2) on a thread with the user's uid) needs a daemon that is root; this one may be
an ordinary user. Lists of other kinds (NFS version 4, Samba's) are not read.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Set
from typing import Final

_NAME: Final = "system.posix_acl_access"
_VERSION: Final = struct.Struct("<I")
_ENTRY: Final = struct.Struct("<HHI")
_SUPPORTED_VERSION: Final = 2
_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
# There is none, or the filesystem has no such lists.
_NONE: Final = (errno.ENODATA, errno.EOPNOTSUPP)


def of(path: str, status: os.stat_result) -> bytes | None:
    """Return the list of what is at ``path``, which is no link; None where the mode says all. Raises OSError.

    Where the mode gives the group nothing, which is the list's mask then, the kernel does not look at the list.
    """
    if not status.st_mode & stat.S_IRWXG:
        return None
    try:
        return os.getxattr(path, _NAME)
    except OSError as error:
        if error.errno in _NONE:
            return None
        raise


def grants(content: bytes, status: os.stat_result, user: int, groups: Set[int], wanted: int) -> bool:
    """Return whether a list grants a user with these groups one permission (4: read, 2: write, 1: execute or search).

    One that can't be read grants nothing.
    """
    if len(content) < _VERSION.size or (len(content) - _VERSION.size) % _ENTRY.size:
        return False
    if _VERSION.unpack_from(content)[0] != _SUPPORTED_VERSION:
        return False
    entries = list(_ENTRY.iter_unpack(content[_VERSION.size :]))
    mask = next((permissions for tag, permissions, _ in entries if tag == _MASK), 0o7)
    own = {tag: permissions for tag, permissions, _ in entries if tag in (_USER_OBJ, _OTHER)}
    if status.st_uid == user:
        return bool(own.get(_USER_OBJ, 0) & wanted)
    for tag, permissions, whose in entries:
        if tag == _USER and whose == user:
            return bool(permissions & mask & wanted)
    of_groups = [
        permissions
        for tag, permissions, whose in entries
        if (tag == _GROUP_OBJ and status.st_gid in groups) or (tag == _GROUP and whose in groups)
    ]
    if of_groups:
        return any(permissions & mask & wanted for permissions in of_groups)
    return bool(own.get(_OTHER, 0) & wanted)
