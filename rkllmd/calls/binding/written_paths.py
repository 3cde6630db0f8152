"""The path of an error names what the client wrote, whichever form its parameters had.

A function knows its parameters by their C names and says ``$.mem``. The client may have given that parameter by
position (``$[1]``), under another name (``$.ctx``), or a struct's fields directly (``$.fmt`` for ``$.attr.fmt``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import TracebackType

from rkllmd.calls.binding.params import Given
from rkllmd.errors import RpcError


class as_written:  # noqa: N801 - used as a function, as contextlib's are
    """Translate the path of an error that is raised inside, in its data and in its sentence.

    This is a class, since every call passes here: a generator takes four times as long.
    """

    __slots__ = ("_given",)

    def __init__(self, given: Mapping[str, Given]) -> None:
        self._given = given

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Translate the path of the error, if there is an error with a path."""
        if isinstance(error, RpcError):
            translate(error, self._given)


def translate(error: RpcError, given: Mapping[str, Given]) -> None:
    """Translate the path of one error, as ``as_written`` does, for code where even a class costs too much."""
    path = error.data.get("path")
    if not isinstance(path, str):
        return
    for name, item in given.items():
        own = f"$.{name}"
        if item.path == own or not re.match(rf"{re.escape(own)}(?![\w])", path):
            continue
        if item.path != "$" and path.startswith(item.path):
            continue  # the function has used the client's path itself
        error.data["path"] = item.path + path[len(own) :]
        pattern, to = rf"{re.escape(own)}(?![\w])", item.path.replace("\\", r"\\")
        error.message = re.sub(pattern, to, error.message)
        if isinstance(detail := error.data.get("detail"), str):
            error.data["detail"] = re.sub(pattern, to, detail)
        return
