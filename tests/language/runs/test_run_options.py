"""The seed and the control markers of a run: which runtime takes them, and what it gets."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from rkllmd.errors import NotSupported
from rkllmd.language.chats.text import Text
from rkllmd.language.runs import run_options
from rkllmd.language.runs.run import Run
from rkllmd.portable.extension import ALL, NextRun


def run_of(*, portable: bool, **options: Any) -> tuple[Run, list[Any]]:
    given: list[Any] = []
    extension = SimpleNamespace(next_run=lambda pointer, options: given.append(options))
    runtime = SimpleNamespace(
        extension=extension if portable else None,
        not_supported=lambda what, needs: NotSupported(f"{what} is not supported.", needs=needs),
    )
    language: Any = SimpleNamespace(runtime=runtime)
    model: Any = SimpleNamespace(pointer=1, n_batch=1)
    nothing: Any = None
    return Run(language, nothing, model, nothing, nothing, **options), given


def turn_of(*, is_rewritten: bool = True, goes_on: bool = False, is_bare: bool = False) -> Any:
    """Return a turn whose text has a marker in the middle."""
    told = SimpleNamespace(text=Text((("hi", False), ("<E>", True), ("ho", False))), goes_on=goes_on)
    return SimpleNamespace(is_rewritten=is_rewritten, is_bare=is_bare, told=told)


@pytest.mark.parametrize("options", [{"seed": 0}, {"seed": 7, "special": True}, {"special": False}])
def test_the_vendors_runtime_has_no_way_to_do_it(options: dict[str, Any]) -> None:
    run, _ = run_of(portable=False, **options)
    with pytest.raises(NotSupported):
        run_options.check(run)
    run_options.check(run_of(portable=True, **options)[0])


@pytest.mark.parametrize("options", [{}, {"special": True}])
def test_what_c_does_anyway_is_taken_everywhere(options: dict[str, Any]) -> None:
    run, _ = run_of(portable=False, **options)
    run_options.check(run)
    run_options.apply(run, turn_of())


@pytest.mark.parametrize(
    ("options", "turn", "gets"),
    [
        ({}, None, []),
        ({"special": False}, None, []),
        ({"special": True}, None, [NextRun(None, ALL)]),
        ({"seed": 0}, None, [NextRun(0)]),
        ({"seed": 7, "special": True}, None, [NextRun(7, ALL)]),
        ({"bare": True, "special": True}, None, [NextRun(None, ALL, bare=True)]),
        ({}, {}, [NextRun(None, ((2, 5),), reuse=True)]),
        ({"special": True}, {}, [NextRun(None, ((2, 5),), reuse=True)]),
        ({"seed": 1}, {"goes_on": True}, [NextRun(1, ((2, 5),))]),
        ({}, {"is_bare": True}, [NextRun(None, ((2, 5),), bare=True, reuse=True)]),
        ({}, {"goes_on": True, "is_rewritten": False}, []),
        ({"special": True}, {"goes_on": True, "is_rewritten": False}, [NextRun(None, ALL)]),
        ({"messages": []}, {"goes_on": True, "is_rewritten": False}, [NextRun(show_special=True)]),
    ],
)
def test_what_the_portable_runtime_gets(options: dict[str, Any], turn: dict[str, bool] | None, gets: list[Any]) -> None:
    run, given = run_of(portable=True, **options)
    run_options.apply(run, None if turn is None else turn_of(**turn))
    assert given == gets
