"""A run on a runtime that a test plays: what is called, what fails how, whose words are cleared before it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from rkllmd.abi.layouts.rkllm import LAYOUTS, LLMCallState, RKLLMInferMode
from rkllmd.errors import NotSupported, RuntimeFailure
from rkllmd.language.kv_cache import KvCache
from rkllmd.language.runs import inference
from rkllmd.language.runs.run import Run
from rkllmd.machine.crash_journal import CrashJournal
from rkllmd.metrics import Metrics
from rkllmd.npu.times.durations import Durations
from tests.language.stand_ins import invocation

LAYOUT = LAYOUTS["1.3"]
FINISH, ERROR = int(LLMCallState.RKLLM_RUN_FINISH), int(LLMCallState.RKLLM_RUN_ERROR)
Play = Callable[[Any], int]


def finish(generation: Any) -> int:
    generation.on_result(None, FINISH)
    return 0


class Stage:
    """A model, its runtime, and a client; ``play`` is what a run does, with the generation."""

    def __init__(self, play: Play = finish, lines: tuple[str, ...] = ()) -> None:
        self.calls: list[str] = []
        self.model: Any = SimpleNamespace(
            watched_files=[],
            kv_cache=KvCache(),
            is_in_doubt=False,
            has_lost_cross_attention=False,
            strings={},
            is_bare=False,
            tokenizer=None,
            is_async=False,
            is_asleep=False,
            n_batch=1,
            name=None,
            path="/m",
            pointer=1,
            generation=None,
            max_context_len=64,
            callback_files=(None, None),
            prompt_cache=None,
            most_tokens=lambda params: 0,
        )

        def run(*_: Any) -> int:
            self.calls.append("rkllm_run")
            return play(self.model.generation)

        library = SimpleNamespace(
            layout=LAYOUT, version="1.3.0", rkllm_run=run, rkllm_abort=lambda _: self.calls.append("rkllm_abort")
        )
        runtime = SimpleNamespace(
            name="vendor",
            library=library,
            extension=None,
            output=SimpleNamespace(mark=lambda: 0, since=lambda mark: list(lines)),
            run_function=lambda asynchronous: "rkllm_run",
            remember_kv_cache_sizes=lambda model: None,
            call=lambda function, *_: self.calls.append(function),
            raw_call=lambda function, *arguments, on: getattr(library, function)(*arguments),
            journal=CrashJournal(),
        )
        between = SimpleNamespace(wake=lambda: None)
        self.language: Any = SimpleNamespace(
            runtime=runtime,
            npu=SimpleNamespace(
                queue=SimpleNamespace(running=None),
                at_token=lambda: None,
                boundaries=between,
                durations=Durations(),
                metrics=Metrics(),
                beside=SimpleNamespace(give=lambda name, work: work()),
            ),
            run_soon=lambda function: function(),
            prompt_caches=None,
            clients={},
            detached_calls=(),
            unaware=set(),
            models=[self.model],
        )

    def generate(self, client: int = 1, *, keep_history: bool = False) -> dict[str, Any]:
        """Run once for this client; return the final result."""
        infer_params = LAYOUT["RKLLMInferParam"](
            mode=RKLLMInferMode.RKLLM_INFER_GENERATE, keep_history=int(keep_history)
        )
        parameters: Any = SimpleNamespace(c=infer_params, json={}, path="$")
        given: Any = SimpleNamespace(c=LAYOUT["RKLLMInput"](), json={}, path="$")
        return inference.generate(Run(self.language, invocation(client), self.model, given, parameters))()


def test_the_words_of_another_are_cleared_and_who_builds_upon_them_is_told() -> None:
    stage = Stage()
    assert "history_reset" not in stage.generate(1, keep_history=True)
    assert stage.generate(2)["history_reset"] is True
    assert stage.calls == ["rkllm_run", "rkllm_clear_kv_cache", "rkllm_run"]
    assert stage.model.kv_cache.owner == 2
    assert not stage.model.kv_cache.holds_words


def test_ones_own_words_stay() -> None:
    stage = Stage()
    for _ in range(2):
        assert "history_reset" not in stage.generate(1, keep_history=True)
    assert stage.calls == ["rkllm_run"] * 2


def failing(generation: Any) -> int:
    generation.on_result(None, ERROR)
    return 0


@pytest.mark.parametrize(
    ("play", "lines", "message"),
    [
        (lambda generation: 3, (), "rkllm_run returned 3; the runtime said nothing about why."),
        (lambda generation: 3, ("first", "last"), "rkllm_run returned 3: last"),
        (failing, ("why",), "rkllm_run reported RKLLM_RUN_ERROR: why"),
    ],
)
def test_how_a_run_fails_is_said_with_the_runtimes_last_words(play: Play, lines: tuple[str, ...], message: str) -> None:
    stage = Stage(play, lines)
    with pytest.raises(RuntimeFailure) as failed:
        stage.generate()
    assert failed.value.message == message
    assert failed.value.data["log"] == list(lines)
    assert stage.model.generation is None, "nothing runs any more"


def test_a_runtime_is_asked_whether_it_still_runs_only_where_no_token_has_come() -> None:
    stage = Stage()
    stage.language.runtime.library.rkllm_run_async = lambda *_: 0
    stage.language.runtime.run_function = lambda asynchronous: "rkllm_run_async"
    runtime, tokens = stage.language.runtime, [True, True, False, True, False]
    seen: list[str] = []

    def wait(ended: threading.Event, timeout: float) -> bool:
        seen.append("look")
        if tokens and tokens.pop(0):
            stage.model.generation.last_at += 1
        return False

    def is_idle_again(model: Any) -> bool:
        seen.append("ask")
        return not tokens

    stage.language.npu.boundaries.wait = wait
    runtime.learn_idle = runtime.learn_busy = lambda model: None
    runtime.is_idle_again = is_idle_again
    with pytest.raises(RuntimeFailure, match="ended without its last callback"):
        stage.generate()
    assert seen == ["look", "look", "look", "ask", "look", "look", "ask", "look"]


def test_an_aborted_run_has_not_failed() -> None:
    def aborted(generation: Any) -> int:
        inference.abort(stage.language, stage.model)
        return -1

    stage = Stage(aborted)
    assert stage.generate()["finish_reason"] == "abort"
    assert stage.calls == ["rkllm_run", "rkllm_abort"]


def test_nothing_is_aborted_where_nothing_runs() -> None:
    stage = Stage()
    inference.abort(stage.language, stage.model)
    ended = threading.Event()
    ended.set()
    stage.model.generation = SimpleNamespace(ended=ended)
    inference.abort(stage.language, stage.model)
    assert stage.calls == []


def test_a_runtime_without_abort_goes_on_to_its_end() -> None:
    def missing(_: Any) -> None:
        raise NotSupported("rkllm_abort is missing.")

    stage = Stage()
    stage.language.runtime.library.rkllm_abort = missing
    generation = stage.model.generation = SimpleNamespace(
        ended=threading.Event(), aborting=threading.Lock(), awaits_abort=False, abort_requested=False, is_over=False
    )
    inference.abort(stage.language, stage.model)
    assert generation.abort_requested
