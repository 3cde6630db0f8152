"""Which conversations are kept while others have the model, and which of them one has most in common with.

Their texts are here, in memory; what the KV cache has held of them is in ``language/out_of_turn``, or in the files that
runs save. Nothing here touches a file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from rkllmd.language.chats.held import Chat, Held
from rkllmd.quick_dataclass import dataclass

# For each, a text is in memory, and as a rule a file on the disk.
_MOST_OF_USER: Final = 16
_MOST: Final = 128


@dataclass(frozen=True, slots=True, eq=False)
class KeptChat:
    """A conversation that is kept, under a name that is no other's."""

    name: str
    chat: Chat
    # Of the model that it is for.
    model_path: str
    held: Held


class KeptChats:
    """All of them, the one that was kept last at the end."""

    def __init__(self) -> None:
        self._kept: list[KeptChat] = []
        self._next = 1

    @property
    def all(self) -> list[KeptChat]:
        """Return them, the one that was kept last at the end."""
        return list(self._kept)

    def new_name(self) -> str:
        """Return a name for one more."""
        taken = {kept.name for kept in self._kept}  # also by those of an earlier daemon
        while (name := f"chat-{self._next}") in taken:
            self._next += 1
        self._next += 1
        return name

    def add(self, kept: KeptChat) -> list[KeptChat]:
        """Note one more; return those that have to go, which are of no use any more or too many.

        A conversation that goes on makes its earlier part useless; one of a session its own earlier states, too.
        """
        whole = str(kept.held.text)
        gone = [
            other
            for other in self._kept
            if (other.chat.user, other.model_path, other.held.basis)
            == (kept.chat.user, kept.model_path, kept.held.basis)
            and whole.startswith(str(other.held.text))
        ]
        if kept.chat.session is not None:
            gone += [other for other in self._kept if other.chat == kept.chat and other not in gone]
        left = [other for other in self._kept if other not in gone]
        mine = [other for other in left if other.chat.user == kept.chat.user]
        gone += mine[: max(0, len(mine) - _MOST_OF_USER + 1)]
        left = [other for other in left if other not in gone]
        gone += left[: max(0, len(left) - _MOST + 1)]
        self._kept = [*(other for other in left if other not in gone), kept]
        return gone

    def remove(self, is_gone: Callable[[KeptChat], bool]) -> list[KeptChat]:
        """Forget those for which ``is_gone`` is true; return them."""
        gone = [kept for kept in self._kept if is_gone(kept)]
        self._kept = [kept for kept in self._kept if kept not in gone]
        return gone

    def best(self, user: int | None, model_path: str, basis: str, whole: str) -> tuple[KeptChat | None, int]:
        """Return the user's conversation that has the longest beginning in common with ``whole``; how long that is."""
        best: KeptChat | None = None
        longest = 0
        for kept in self._kept:
            if (kept.chat.user, kept.model_path, kept.held.basis) == (user, model_path, basis):
                common = common_length(str(kept.held.text), whole)
                if common > longest:
                    best, longest = kept, common
        return best, longest

    def earlier(
        self, user: int | None, model_path: str, basis: str, digests: Sequence[bytes], more_than: int = 0
    ) -> Held | None:
        """Return the user's conversation that has most messages in common with those of these ``digests``.

        Up to an answer, and ``more_than`` this many; None: none has.
        """
        found: Held | None = None
        most = more_than
        for kept in self._kept:
            if (kept.chat.user, kept.model_path, kept.held.basis) == (user, model_path, basis):
                common, _ = kept.held.common(digests)
                if common > most:
                    found, most = kept.held, common
        return found


def common_length(one: str, other: str) -> int:
    """Return with how many equal characters two texts begin; by comparing slices, since texts are long."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
