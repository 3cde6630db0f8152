"""What a program gives a call: its parameters, with tensors anywhere in them, and what stands beside the method."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias, TypedDict, runtime_checkable

from rkllmd.json_types import Json
from rkllmd.quick_dataclass import dataclass

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

Params: TypeAlias = Mapping[str, object] | list[Json] | tuple[object, ...] | None
"""The parameters of a call: by name, by position, or none at all.

Inside them is what JSON has, and what travels as something that JSON has: paths, bytes, a ``Tensor`` or an array of
numpy. What is neither raises TypeError before anything is sent.
"""


@runtime_checkable
class Array(Protocol):
    """An array of numpy, or of anything that is like one; numpy itself is not needed here."""

    @property
    def dtype(self) -> object:
        """Return the type of the elements; its name is what ``str`` makes of it."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the length of each dimension."""
        ...

    def item(self) -> object:
        """Return the only element."""
        ...

    def tobytes(self) -> bytes:
        """Return the elements in C order."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """Bytes for the daemon, which travel by file descriptor; ``dtype`` and ``shape`` as in the protocol, section 5."""

    # Who checks for a Python before 3.12 does not see that numpy's arrays are buffers (PEP 688).
    data: ReadableBuffer | Array
    dtype: str
    shape: Sequence[int]


class RequestMembers(TypedDict, total=False):
    """What a request may have beside "method" and "params" (protocol, section 4), each as a keyword argument.

    None is as if left out.
    """

    first_token_timeout_ms: int | None
    priority: Literal["high", "normal", "low"] | None
    reply_fds: bool | None
    run_timeout_ms: int | None
    session: str | None
    stream: Literal["partial", "final", "notify"] | None
    timeout_ms: int | None
    wait_timeout_ms: int | None


MEMBERS: Final = tuple(RequestMembers.__annotations__)
# The client's own.
_OWN: Final = ("fds", "timeout", "reconnect")


def check_keywords(members: Mapping[str, object], timeout: float | None = None) -> None:
    """Refuse what would be sent in vain, since the daemon ignores members that it does not know.

    Raises TypeError for a keyword argument that is no member of a request, ValueError for a wrong ``timeout``.
    """
    for name in members:
        if name not in MEMBERS:
            close = difflib.get_close_matches(name, (*MEMBERS, *_OWN), n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join((*MEMBERS, 'fds', 'timeout'))}."
            raise TypeError(f"there is no keyword argument {name!r} (what the method takes goes into params); {hint}")
    if timeout is not None and not timeout > 0:
        raise ValueError(f"timeout is a number of seconds above 0, or None for no limit, and not {timeout!r}")


def whole(method: str, params: Params, members: RequestMembers) -> RequestMembers:
    """Return the members for a call that wants one answer: rkllm.run streams on a model loaded with is_async."""
    if method != "rkllm.run" or (isinstance(params, Mapping) and "stream" in params):
        return members
    return {"stream": "final", **members}
