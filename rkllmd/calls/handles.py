"""Handles: which objects are alive, and who owns them.

On the wire, a handle is a small positive integer: never an address, and never used twice while the daemon lives.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, Generic, Protocol, TypeVar

from rkllmd.errors import AmbiguousHandle, InvalidHandle, ModelNotInitialized, NotYours

_numbers = itertools.count(1)
# How many handles an error's sentence names; its data has all.
_SHOWN: Final = 10


T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Live(Protocol):
    """An object behind a handle."""

    number: int
    # The uid that it belongs to where it is shared; None: the daemon's own.
    user: int | None

    @property
    def is_alive(self) -> bool:
        """Return whether it may be used."""


class Registry(Protocol[T_co]):
    """``Handles`` to look objects up in, whatever their type."""

    @property
    def noun(self) -> str:
        """Return what the objects are."""

    @property
    def maker(self) -> str:
        """Return the method that makes one."""

    @property
    def _live(self) -> Mapping[int, tuple[T_co, int | None]]: ...

    def usable_by(self, client: int | None) -> Mapping[int, T_co]:
        """Return the objects that this client may use, by handle."""

    def owned_by(self, client: int | None) -> Sequence[T_co]:
        """Return the objects that go with this client; for None, those that stay whoever goes."""

    def is_shared(self, number: int) -> bool:
        """Return whether this is the handle of a live object that belongs to no connection."""


def begin_behind(number: int) -> None:
    """Give no handle up to this one any more; while the daemon starts, before it gives any."""
    global _numbers
    _numbers = itertools.count(max(next(_numbers), number + 1))


class Handles(Generic[T]):
    """The live objects of one type by their handles, each with its owner: a client's number, or None for everybody."""

    def __init__(self, noun: str, maker: str = "rkllm.init") -> None:
        """Start without any. ``noun`` says what they are, and ``maker`` which method makes one, for error messages."""
        self.noun = noun
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

    def restore(self, number: int, item: T) -> None:
        """Give ``item`` the handle that it had in an earlier daemon (``begin_behind``); it belongs to everybody."""
        self._live[number] = (item, None)

    def remove(self, number: int) -> None:
        """Forget a handle; its number is not used again."""
        self._live.pop(number, None)

    def replace(self, numbers: Iterable[int], item: T) -> int:
        """Forget these handles and give ``item`` a new one, in one step: nobody ever finds both, or neither."""
        number = next(_numbers)
        gone = set(numbers)
        live = {key: value for key, value in self._live.items() if key not in gone}
        self._live = {**live, number: (item, None)}
        return number

    def owner_of(self, number: int) -> int | None:
        """Return the client to which a live object belongs, or None if it belongs to everybody."""
        return self._live[number][1]

    def is_shared(self, number: int) -> bool:
        """Return whether this is the handle of a live object that belongs to no connection."""
        return self._live.get(number, (None, 0))[1] is None

    def owned_by(self, client: int | None) -> list[T]:
        """Return the objects that go with this client; for None, those that stay whoever goes."""
        return [item for item, owner in list(self._live.values()) if owner == client]

    def usable_by(self, client: int | None) -> dict[int, T]:
        """Return the objects that this client may use, by handle."""
        # From one snapshot, since the worker may unload something meanwhile.
        return {number: item for number, (item, owner) in list(self._live.items()) if owner in (None, client)}

    def get(self, number: int | None, client: int | None = None) -> T:
        """Return the object of a handle, or the only live one for None. Raises what ``resolve`` raises."""
        if number is None and len(self._live) == 1:  # nearly always; the worker may remove it meanwhile
            for item, owner in list(self._live.values()):
                if owner in (None, client):
                    return item
        return resolve([self], number, client)


def resolve(registries: Sequence[Registry[T]], number: int | None, client: int | None) -> T:
    """Return the object of a handle that may be of several types, or the only live one that ``client`` may use.

    Raises ModelNotInitialized, AmbiguousHandle, InvalidHandle or NotYours.
    """
    if number is not None:
        for handles in registries:
            item, owner = handles._live.get(number, (None, None))
            if item is not None and owner in (None, client):
                return item
    usable = {key: item for handles in registries for key, item in handles.usable_by(client).items()}
    noun = registries[0].noun
    if number is None:
        if len(usable) == 1:
            return next(iter(usable.values()))
        if not usable:
            raise ModelNotInitialized(f"No {noun} is loaded: call {registries[0].maker} first.")
        raise AmbiguousHandle(
            f"Several {noun}s are loaded ({_listed(usable)}): name one by its handle.", handles=list(usable)
        )
    if any(number in handles._live for handles in registries):
        raise NotYours(f"This {noun} belongs to another connection.", handle=number)
    known = f"there is {_listed(usable)}" if usable else "none is loaded"
    raise InvalidHandle(f"There is no {noun} with handle {number}; {known}.", handle=number, handles=list(usable))


def _listed(numbers: Iterable[int]) -> str:
    shown = sorted(numbers)
    return ", ".join(map(str, shown[:_SHOWN])) + (f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else "")
