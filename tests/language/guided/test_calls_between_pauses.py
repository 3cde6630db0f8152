"""The C calls of one run that is kept to its form by pauses, with a runtime that says what the test wants."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from rkllmd.abi.layouts.rkllm import LAYOUTS
from rkllmd.calls.arguments import Converted
from rkllmd.language import conversations
from rkllmd.language.generation import Generation
from rkllmd.language.runs import guiding
from rkllmd.language.runs.run import Run
from rkllmd.language.texts.transcript import NORMAL, Transcript
from tests.language.generation.generations import Loop
from tests.language.guided.schema_maker import form_of


class Board:
    """A model on a board, and one run of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, schema: Any, *, format_by: str = "auto") -> None:
        self.dropped: list[tuple[int, int]] = []
        self.cleared = 0
        self.told: list[bytes] = []
        self.is_cancelled: Callable[[], bool] = lambda: False
        nothing: Any = None
        runtime: Any = SimpleNamespace(extension=None, remember_kv_cache_sizes=lambda model: None, invoke=self._invoke)
        language: Any = SimpleNamespace(runtime=runtime, config=SimpleNamespace(format_by=format_by))
        layout = LAYOUTS["1.2"]
        model: Any = SimpleNamespace(
            kv_cache_sizes=[50], pointer=1, number=1, library=SimpleNamespace(layout=layout), sampling=None
        )
        board = self

        class Invocation:
            @property
            def is_cancelled(self) -> bool:
                return board.is_cancelled()

        invocation: Any = Invocation()
        given: Any = SimpleNamespace(prompt_input=b"Hello")
        parameters: Any = SimpleNamespace()
        form = form_of(schema)
        self.run = Run(
            language, invocation, model, Converted(given, {}, "$", nothing), Converted(parameters, {}, "$", nothing),
            form=form,
        )  # fmt: skip
        monkeypatch.setattr(conversations, "clear", self._clear)
        loop = Loop()
        self.generation = Generation(
            mode=0,
            transcript=Transcript(1, (), guiding.judged(self.run)),
            max_new_tokens=-1,
            can_free_buffer=False,
            keeps_up=True,
            wake=loop.wake,
            send=None,
        )

    def _invoke(self, _function: str, _pointer: Any, _keep: int, start: Any, end: Any, *, on: Any) -> Any:
        self.dropped.append((start[0], end[0]))
        return 0, []

    def _clear(self, _language: Any, _model: Any) -> None:
        self.cleared += 1

    def once(self, run: Run, generation: Generation) -> None:
        """Run the model: it says something illegal, which pauses it."""
        self.told.append(run.only_input.prompt_input)
        generation._take_now((NORMAL, [(7, b"Sure")]), is_slow=True)
        generation.paused = generation.needs_words
        generation.ended.set()


@pytest.mark.parametrize(("format_by", "dropped"), [("auto", [(49, 50)]), ("pauses_uncached", [])])
def test_the_refused_token_leaves_the_cache_if_it_is_there(
    monkeypatch: pytest.MonkeyPatch, format_by: str, dropped: list[tuple[int, int]]
) -> None:
    board = Board(monkeypatch, {"const": {"a": 1}}, format_by=format_by)
    assert guiding.call(board.run, board.generation, board.once) is None
    assert board.dropped == dropped
    assert board.generation.transcript.so_far() == {"text": '{"a": 1}'}
    assert (board.told, board.cleared, board.generation.paused) == ([b"Hello"], 1, False), "the answer is whole"


@pytest.mark.parametrize("after", [0, 1])
def test_a_run_that_is_cancelled_between_two_calls_makes_no_other(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    board = Board(monkeypatch, {"type": "array", "items": {"type": "integer"}, "minItems": 1})
    asked = iter([False] * after + [True] * 9)
    board.is_cancelled = lambda: next(asked)
    guiding.call(board.run, board.generation, board.once)
    assert board.told == [b"Hello"]
    assert (board.generation.abort_requested, board.cleared, board.generation.paused) == (True, 1, False)
