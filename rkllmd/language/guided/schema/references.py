"""Where a ``$ref`` of a schema points to: only to a schema within the same one."""

from __future__ import annotations

from collections.abc import Set
from urllib.parse import unquote

from rkllmd.errors import InvalidParams


def check(reference: str, where: str, root: str, places: Set[str]) -> None:
    """Refuse a reference at ``where`` to anything but one of ``places``, the paths of all schemas below ``root``.

    Raises InvalidParams.
    """
    if target(reference, root) not in places:
        raise InvalidParams(
            f"{where.removeprefix('$.')}: only schemas in this one can be referred to, as #/$defs/name.",
            path=where,
            keyword="$ref",
        )


def target(reference: str, root: str) -> str | None:
    """Return the path that a JSON Pointer in a fragment (RFC 6901) stands for; None for anything else."""
    if reference == "#":
        return root
    if not reference.startswith("#/"):
        return None
    path = root
    for part in unquote(reference[2:]).split("/"):
        name = part.replace("~1", "/").replace("~0", "~")
        # A number is an index only in a list of schemas; a property may be called 1 as well, and is not referred to.
        path += f"[{name}]" if name.isascii() and name.isdigit() else f".{name}"
    return path
