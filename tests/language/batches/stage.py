"""A model with batches and its runtime, which the test plays."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from rkllmd.abi.layouts.rkllm import LAYOUTS, RKLLMInferMode
from rkllmd.language.batches import running
from rkllmd.language.batches.company import Company, Lane
from rkllmd.language.kv_cache import KvCache
from rkllmd.language.runs.run import Run
from rkllmd.language.texts.transcript import FINISH
from rkllmd.machine.crash_journal import CrashJournal
from rkllmd.metrics import Metrics
from rkllmd.npu.times.durations import Durations
from rkllmd.portable.extension import NextRun
from tests.language.generation.generations import NULL
from tests.language.stand_ins import invocation

LAYOUT = LAYOUTS["1.3"]
PLACES = 3


def model() -> Any:
    """Return a model with batches of three."""
    return SimpleNamespace(
        watched_files=[],
        kv_cache=KvCache(),
        tokenizer=None,
        file=None,
        vision=None,
        dialect=None,
        coalesce=True,
        has_lost_cross_attention=False,
        is_in_doubt=False,
        is_async=False,
        is_asleep=False,
        n_batch=PLACES,
        strings={},
        is_bare=False,
        name=None,
        number=1,
        path="/m",
        pointer=1,
        generation=None,
        max_context_len=64,
        callback_files=(None, None),
        most_tokens=lambda params: params.c.max_new_tokens,
    )


class Stage:
    """A model with batches of three and its runtime; ``play`` is what a run does, given the company."""

    def __init__(self, play: Callable[[Any], int] | None = None, *, extension: Any = None) -> None:
        self.calls: list[str] = []
        self.given: list[list[bytes]] = []
        self.limits, self.ended = list[int](), list[Lane]()
        self.model = model()

        def run(_: Any, inputs: Any, parameters: Any, __: Any) -> int:
            self.calls.append("rkllm_run")
            self.given.append([item.prompt_input for item in inputs])
            self.limits.append(parameters._obj.max_new_tokens)
            return (play or finish)(self.model.generation)

        self.model.library = library = SimpleNamespace(
            layout=LAYOUT, version="1.3.0", rkllm_run=run, rkllm_abort=lambda _: self.calls.append("rkllm_abort")
        )
        self.language: Any = SimpleNamespace(
            runtime=SimpleNamespace(
                name="simulator",
                library=library,
                extension=extension,
                output=SimpleNamespace(mark=lambda: 0, since=lambda mark: []),
                run_function=lambda asynchronous: "rkllm_run",
                remember_kv_cache_sizes=lambda model: None,
                call=lambda function, *_: self.calls.append(function),
                raw_call=lambda function, *arguments, on: getattr(library, function)(*arguments),
                journal=CrashJournal(),
            ),
            npu=SimpleNamespace(
                queue=SimpleNamespace(running=None),
                at_token=lambda: None,
                boundaries=SimpleNamespace(wake=lambda: None),
                durations=Durations(),
                metrics=Metrics(),
                beside=SimpleNamespace(give=lambda name, work: work()),
            ),
            run_soon=lambda function: function(),
            clients={},
            detached_calls=(),
            unaware=set(),
            models=[self.model],
            config=SimpleNamespace(coalesce="always", format_by="auto"),
        )

    def run(self, prompt: str, limit: int = 0, client: int = 1) -> Run:
        """Return a run of a client."""
        infer_params = LAYOUT["RKLLMInferParam"](mode=RKLLMInferMode.RKLLM_INFER_GENERATE, max_new_tokens=limit)
        rkllm_input = LAYOUT["RKLLMInput"]()
        rkllm_input.prompt_input = prompt.encode()
        given: Any = SimpleNamespace(c=rkllm_input, json={}, path="$", sources=None, keep=[])
        parameters: Any = SimpleNamespace(c=infer_params, json={}, path="$", sources=None, keep=[])
        return Run(self.language, invocation(client), self.model, given, parameters)

    def company(self, *runs: Run) -> Company:
        """Return the company of these runs."""
        return running.company_of([running.lane_of(run) for run in runs], self.ended.append)


def finish(company: Any) -> int:
    company.on_result(NULL, FINISH)
    return 0


class Extension:
    """The portable library's own functions."""

    def __init__(self) -> None:
        self.entries = list[tuple[int, bool]]()
        self.guides = list[Callable[[int, int, int, int], None]]()

    def next_run(self, handle: Any, options: NextRun) -> None:
        """Forget the entries."""
        self.entries.clear()

    def next_entry(self, handle: Any, sequence: int, options: NextRun) -> None:
        """Note in which sequence an entry is read, and whether it may use what is there."""
        self.entries.append((sequence, options.reuse))

    def count_tokens(self, handle: Any, text: bytes, how: Any) -> int:
        """Return one for each byte."""
        return len(text)

    def guide_next_run(self, handle: Any, guide: Callable[[int, int, int, int], None]) -> object:
        """Note what guides the entry that was added last."""
        self.guides.append(guide)
        return guide

    def reused_tokens(self, handle: Any, entry: int) -> int:
        """Return as many for each."""
        return 7 + entry
