"""Handles: who owns what, and how long it lives.

On the wire a handle is a small positive integer, never an address, and never used twice while the daemon lives.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, Generic, TypeVar

from rkllmd.errors import AmbiguousHandle, InvalidHandle, ModelNotInitialized, NotYours

_numbers = itertools.count(1)
# Of the handles that an error's sentence names; all are in its data.
_SHOWN: Final = 10


T = TypeVar("T")


class Handles(Generic[T]):
    """The live objects of one kind by their handles, each with its owner: a client's number, or None for everybody."""

    def __init__(self, kind: str, maker: str = "rkllm.init") -> None:
        """Start without any; ``kind`` and ``maker``, the method that makes one, are for error messages."""
        self.kind = kind
        self.maker = maker
        self._live: dict[int, tuple[T, int | None]] = {}

    def __len__(self) -> int:
        """Return how many are alive."""
        return len(self._live)

    def __iter__(self) -> Iterator[T]:
        """Iterate over a snapshot of the live objects."""
        return iter([item for item, _ in list(self._live.values())])

    def add(self, item: T, owner: int | None = None) -> int:
        """Give ``item`` a handle."""
        number = next(_numbers)
        self._live[number] = (item, owner)
        return number

    def remove(self, number: int) -> None:
        """Forget a handle; its number is not used again."""
        self._live.pop(number, None)

    def exchange(self, numbers: Iterable[int], item: T) -> int:
        """Forget handles and give ``item`` one, in one step: nobody finds both, or neither."""
        number = next(_numbers)
        gone = set(numbers)
        live = {key: value for key, value in self._live.items() if key not in gone}
        self._live = {**live, number: (item, None)}
        return number

    def owner_of(self, number: int) -> int | None:
        """Return the client that a live object belongs to, or None for everybody's."""
        return self._live[number][1]

    def owned_by(self, client: int | None) -> list[T]:
        """Return what goes when this client goes; for None, what stays whoever goes."""
        return [item for item, owner in list(self._live.values()) if owner == client]

    def usable_by(self, client: int | None) -> dict[int, T]:
        """Return what this client may use, by handle."""
        # One look: the worker may unload something meanwhile.
        return {number: item for number, (item, owner) in list(self._live.items()) if owner in (None, client)}

    def get(self, number: int | None, client: int | None = None) -> T:
        """Return the object of a handle, or the only live one for None. Raises as ``resolve``."""
        if number is None and len(self._live) == 1:  # as nearly always; the worker may take it away meanwhile
            for item, owner in list(self._live.values()):
                if owner in (None, client):
                    return item
        found: T = resolve([self], number, client)
        return found


def resolve(registries: Sequence[Handles[Any]], number: int | None, client: int | None) -> Any:
    """Return the object of a handle that may be of several kinds, or the only live one that ``client`` may use.

    Raises ModelNotInitialized, AmbiguousHandle, InvalidHandle or NotYours.
    """
    if number is not None:
        for handles in registries:
            item, owner = handles._live.get(number, (None, None))
            if item is not None and owner in (None, client):
                return item
    usable = {key: item for handles in registries for key, item in handles.usable_by(client).items()}
    kind = registries[0].kind
    if number is None:
        if len(usable) == 1:
            return next(iter(usable.values()))
        if not usable:
            raise ModelNotInitialized(f"No {kind} is loaded: call {registries[0].maker} first.")
        raise AmbiguousHandle(
            f"Several {kind}s are loaded ({_listed(usable)}): name one by its handle.", handles=list(usable)
        )
    if any(number in handles._live for handles in registries):
        raise NotYours(f"This {kind} belongs to another connection.", handle=number)
    known = f"there is {_listed(usable)}" if usable else "none is loaded"
    raise InvalidHandle(f"There is no {kind} with handle {number}; {known}.", handle=number, handles=list(usable))


def _listed(numbers: Iterable[int]) -> str:
    shown = sorted(numbers)
    return ", ".join(map(str, shown[:_SHOWN])) + (f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else "")
