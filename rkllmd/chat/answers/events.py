"""What a reader of an answer finds in it, in the order in which it comes."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeAlias, TypeVar

from rkllmd.json_types import JsonObject
from rkllmd.quick_dataclass import dataclass

T = TypeVar("T")

Reading: TypeAlias = Generator[None, None, T]
"""Something that is being read: it yields when it needs more text, and returns what it has read."""


@dataclass(frozen=True, slots=True)
class Text:
    """What is meant for the user."""

    text: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    """What the model thinks before it answers."""

    text: str


@dataclass(frozen=True, slots=True)
class CallBegan:
    """A tool is called: its name is known, its arguments follow."""

    index: int  # counts the calls of one answer from 0
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class CallArguments:
    """The next piece of the arguments of a call that has begun, as JSON text."""

    index: int
    text: str


@dataclass(frozen=True, slots=True)
class CallEnded:
    """A call is whole: its arguments parsed, and as text, which is all pieces of it together."""

    index: int
    id: str
    name: str
    arguments: JsonObject
    text: str


@dataclass(frozen=True, slots=True)
class CallDropped:
    """What had begun as a call is none, for it never ended or is no JSON: what the model wrote follows as text."""

    index: int


@dataclass(frozen=True, slots=True)
class Stopped:
    """A stop string was found: nothing follows."""

    stop_sequence: str


Event: TypeAlias = Text | Reasoning | CallBegan | CallArguments | CallEnded | CallDropped | Stopped
