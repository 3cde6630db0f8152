"""The seed and the control markers of a run: which runtime takes them, and what it gets."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from rkllmd.errors import NotSupported
from rkllmd.language.runs import run_options
from rkllmd.language.runs.run import Run
from rkllmd.portable.extension import ALL


def run_of(*, portable: bool, **options: Any) -> tuple[Run, list[Any]]:
    given: list[Any] = []
    extension = SimpleNamespace(next_run=lambda pointer, seed, meant: given.append((seed, tuple(meant))))
    runtime = SimpleNamespace(
        extension=extension if portable else None,
        not_supported=lambda what, needs: NotSupported(f"{what} is not supported.", needs=needs),
    )
    language: Any = SimpleNamespace(runtime=runtime)
    model: Any = SimpleNamespace(pointer=1)
    nothing: Any = None
    return Run(language, nothing, model, nothing, nothing, **options), given


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
    run_options.apply(run, [(0, 5)])


@pytest.mark.parametrize(
    ("options", "markers", "gets"),
    [
        ({}, (), []),
        ({"special": False}, (), []),
        ({}, ((3, 9),), [(None, ((3, 9),))]),
        ({"special": True}, ((3, 9),), [(None, ALL)]),
        ({"seed": 0}, (), [(0, ())]),
        ({"seed": 7, "special": True}, (), [(7, ALL)]),
    ],
)
def test_what_the_portable_runtime_gets(options: dict[str, Any], markers: Any, gets: list[Any]) -> None:
    run, given = run_of(portable=True, **options)
    run_options.apply(run, markers)
    assert given == gets
