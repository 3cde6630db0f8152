"""Classes made quickly behave like the standard library's."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from rkllmd.quick_dataclass import dataclass


def declare(make: Callable[..., Any], **options: bool) -> Any:
    """Return a class as the decorator ``make`` makes it."""

    class Point:
        """Where."""

        x: int
        y: int = dataclasses.field(default=2, compare=False)
        tags: list[str] = dataclasses.field(default_factory=list, repr=False)

    return make(**options)(Point)


@pytest.fixture(params=[{}, {"frozen": True}, {"slots": True}, {"frozen": True, "slots": True}, {"eq": False}])
def both(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    """Return a class made quickly, and the same one of the standard library."""
    return declare(dataclass, **request.param), declare(dataclasses.dataclass, **request.param)


def test_it_shows_itself_as_the_standard_one(both: tuple[Any, Any]) -> None:
    quick, standard = both
    assert repr(quick(1)) == repr(standard(1))
    assert dataclasses.asdict(dataclasses.replace(quick(1), y=5)) == {"x": 1, "y": 5, "tags": []}


def test_it_compares_as_the_standard_one(both: tuple[Any, Any]) -> None:
    for cls in both:
        assert (cls(1) == cls(1, 5)) is ("__eq__" in vars(cls)), "y does not count"
        assert cls(1) != cls(2)
        assert cls(1) != 1
        assert (cls.__hash__ is None) is (both[1].__hash__ is None)


def test_equal_frozen_ones_have_one_hash() -> None:
    @dataclass(frozen=True)
    class Name:
        """Of something."""

        text: str

    assert len({Name("a"), Name("a"), Name("b")}) == 2


def test_what_a_class_says_itself_stays() -> None:
    @dataclass(frozen=True)
    class Secret:
        """Not to be shown."""

        text: str

        def __repr__(self) -> str:
            return "Secret(…)"

        def __hash__(self) -> int:
            return 7

    assert repr(Secret("a")) == "Secret(…)"
    assert hash(Secret("a")) == 7


def test_one_that_contains_itself_shows_dots() -> None:
    @dataclass
    class Node:
        """Of a graph."""

        next: object = None

    node = Node()
    node.next = node
    assert repr(node).endswith("Node(next=...)")
