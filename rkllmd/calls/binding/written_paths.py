"""The path of an error names what the client wrote, whichever form its parameters had.

A function knows its parameters by their C names and says ``$.mem``. The client may have given that one by position
(``$[1]``), under another name (``$.ctx``), or a struct's fields directly (``$.fmt`` for ``$.attr.fmt``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rkllmd.calls.binding.params import Given
from rkllmd.errors import RpcError


@contextmanager
def as_written(given: Mapping[str, Given]) -> Iterator[None]:
    """Translate the path of an error that is raised inside, in its data and in its sentence."""
    try:
        yield
    except RpcError as error:
        _translate(error, given)
        raise


def _translate(error: RpcError, given: Mapping[str, Given]) -> None:
    path = error.data.get("path")
    if not isinstance(path, str):
        return
    for name, item in given.items():
        own = f"$.{name}"
        if item.path == own or not re.match(rf"{re.escape(own)}(?![\w])", path):
            continue
        if item.path != "$" and path.startswith(item.path):
            continue  # by a function that knows where it stands
        error.data["path"] = item.path + path[len(own) :]
        pattern, to = rf"{re.escape(own)}(?![\w])", item.path.replace("\\", r"\\")
        error.message = re.sub(pattern, to, error.message)
        if isinstance(detail := error.data.get("detail"), str):
            error.data["detail"] = re.sub(pattern, to, detail)
        return
