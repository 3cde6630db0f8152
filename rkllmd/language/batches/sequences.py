"""In which sequence of the cache each run of a batch is read, so that a conversation finds its beginning. It decides.

The portable runtime has a sequence for each entry of a batch, and any run may have any of them. What is in one
is compared only with conversations of the same user: how much of a text the cache has says what others have said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rkllmd.language.chats.held import Chat, Held
from rkllmd.quick_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Said:
    """A conversation that is to be read: whose it is, what it depends on beside its messages, and their digests."""

    user: int | None
    basis: str
    digests: Sequence[bytes]


def choose(held: Mapping[int, tuple[Chat, Held]], places: int, runs: Sequence[Said | None]) -> list[int]:
    """Return a sequence for each run, None for one that is no conversation; no two have the same.

    ``held`` are those that hold a conversation, that of long ago first; there are ``places`` in all.
    """
    found: dict[int, int] = {}
    pairs = [(run, sequence) for run, said in enumerate(runs) if said is not None for sequence in held]
    common = {(run, sequence): _common(held[sequence], runs[run]) for run, sequence in pairs}
    for run, sequence in sorted(pairs, key=lambda pair: -common[pair]):
        if common[run, sequence] > 0 and run not in found and sequence not in found.values():
            found[run] = sequence
    unused = [sequence for sequence in range(places) if sequence not in held]
    free = iter([sequence for sequence in (*unused, *held) if sequence not in found.values()])
    return [found[run] if run in found else next(free) for run in range(len(runs))]


def _common(known: tuple[Chat, Held], said: Said | None) -> int:
    """Return with how many messages of what a sequence holds the conversation begins; 0 for less than half of them.

    The other half would be lost, and its own conversation may come again.
    """
    chat, held = known
    if said is None or chat.user != said.user or held.basis != said.basis:
        return 0
    count = 0
    for one, other in zip(held.digests, said.digests, strict=False):
        if one != other:
            break
        count += 1
    return count if 2 * count >= len(held.digests) else 0
