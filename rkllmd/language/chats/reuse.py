"""How much of a conversation the KV cache has already: what the runtime is given, so that only new words are read.

A runtime can go on where the cache ends. So a conversation whose messages begin with all those that the cache holds, in
the same order, is given its new part only: also if the template would write earlier answers otherwise than they were
generated (without their thoughts, trimmed), as RKLLM's own ``keep_history`` does. Everything else (an edited message,
an answer that is generated anew) is told from the beginning; a runtime that can compare tokens keeps of the cache what
both have in common.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from rkllmd.language.chats.held import Held
from rkllmd.language.chats.messages import Message
from rkllmd.language.chats.text import Text
from rkllmd.quick_dataclass import dataclass


class Template(Protocol):
    """What makes text of messages."""

    @property
    def source(self) -> str:
        """Return what the final result calls it: "model", "markers", "words"."""

    @property
    def is_bare(self) -> bool:
        """Return whether the runtime must not put a template of its own around the text."""

    def whole(self, messages: Sequence[Message]) -> Text:
        """Return the conversation, up to where the next answer begins. Raises RpcError."""

    def after(self, messages: Sequence[Message], known: int) -> tuple[Text, Text] | None:
        """Return what follows the first ``known`` messages, the last of them an answer, in two parts.

        The first one is what the runtime's own template puts between two turns. None if that can't be told apart: the
        conversation is then told from its beginning. Raises RpcError.
        """

    def lead(self, *, thinking: bool) -> Text:
        """Return what the runtime's own template puts between the text and the answer."""


@dataclass(frozen=True, slots=True)
class Telling:
    """What the model is told: ``text``, from the beginning unless ``goes_on`` behind what the cache holds.

    ``whole`` is the conversation from its beginning in any case, ``ends`` as in ``Held``: of the answers in it that are
    told as they were generated. ``known``: how many messages the cache has already.
    """

    text: Text
    whole: Text
    goes_on: bool
    ends: tuple[tuple[int, int], ...] = ()
    known: int = 0

    def from_the_beginning(self) -> Telling:
        """Return the same conversation for a runtime that finds out itself what of it the cache has, if anything."""
        return replace(self, text=self.whole, goes_on=False, known=0)


def plan(
    held: Held | None,
    basis: str,
    messages: Sequence[Message],
    template: Template,
    *,
    compares_tokens: bool,
    is_same_session: bool = False,
) -> Telling:
    """Return how a conversation is told to a runtime whose cache holds ``held``; None: nothing that is known.

    ``compares_tokens``: the runtime finds out itself what the cache has in common with a text. ``is_same_session``:
    either may lack the oldest messages. Raises RpcError.
    """
    known = 0
    if held is not None and held.basis == basis:
        known = _known(held.digests, messages, is_same_session=is_same_session)
    following = template.after(messages, known) if known else None
    if held is None or following is None:
        same = None
        if held is not None and held.basis == basis and compares_tokens:
            same = _from_the_same_beginning(held, messages, template)
        return same or _anew(template.whole(messages))
    between, rest = following
    whole = held.text + between + rest
    ends = held.ends if known == len(held.digests) else ()
    if compares_tokens and not held.is_exact:
        return Telling(whole, whole, goes_on=False, ends=ends)
    return Telling(between + rest if template.is_bare else rest, whole, goes_on=True, ends=ends, known=known)


def goes_on(held: Held, basis: str, messages: Sequence[Message], *, is_same_session: bool) -> bool:
    """Return whether a conversation begins with all the messages that the cache holds."""
    return held.basis == basis and _known(held.digests, messages, is_same_session=is_same_session) > 0


def _anew(whole: Text) -> Telling:
    return Telling(whole, whole, goes_on=False)


def _from_the_same_beginning(held: Held, messages: Sequence[Message], template: Template) -> Telling | None:
    """Return a conversation that begins as ``held`` does, told so far as that was: its tokens are in the cache.

    The template may write earlier answers otherwise than they were generated. None if nothing begins so.
    """
    count, parts = held.common([message.digest for message in messages])
    following = template.after(messages, count) if count else None
    if following is None:
        return None
    whole = Text(held.text.parts[:parts]) + following[0] + following[1]
    return Telling(whole, whole, goes_on=False, ends=tuple(end for end in held.ends if end[0] <= count))


def _known(digests: Sequence[bytes], messages: Sequence[Message], *, is_same_session: bool) -> int:
    """Return with how many messages the conversation begins that the cache holds, if that is all that it holds."""
    count = len(messages) - 1 if is_same_session else len(digests)
    if not digests or count >= len(messages):
        return 0
    both = min(count, len(digests))
    found = [message.digest for message in messages[count - both : count]]
    return count if both and found == list(digests[len(digests) - both :]) else 0
