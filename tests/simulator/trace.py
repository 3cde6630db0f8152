"""Judge a trace that the simulators of both libraries have written: one NPU operation at a time, nothing left."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

RUNS = frozenset({"rkllm_run", "rkllm_run_async"})
# What an operation that has not been waited for allows: waiting for it.
WAITS = frozenset({"rknn_wait", "rknn_outputs_get"})
LAST_STATES = frozenset({"finish", "error"})
NPU_FUNCTIONS = (
    RUNS
    | WAITS
    | {f"rkllm_{name}" for name in ("init", "destroy", "load_lora", "load_prompt_cache")}
    | {f"rknn_{name}" for name in ("init", "dup_context", "destroy", "inputs_set", "run")}
    | {f"rknn_matmul_{name}" for name in ("create", "create_dynamic_shape", "run", "destroy")}
)


def overlaps(trace: Sequence[Sequence[str]]) -> list[str]:
    """Return the NPU operations that were entered while another was inside.

    With ``trace_callbacks=2`` in RKLLM's scenario, a run that waits for its callback leaves the NPU to others: they
    have to be gone when the callback returns. Without it nothing may be inside a run.
    """
    judge = _Judge(any(line[2] == "resumed" for line in trace))
    for _, _, event, name, value in trace:
        judge.read(event, name, value)
    return judge.found


def live(trace: Iterable[Sequence[str]]) -> dict[str, int]:
    """Return how many contexts, memories and matmuls of RKNN were alive at the end."""
    counts = {"contexts": 0, "memories": 0, "matmuls": 0}
    counts.update({name: int(value) for _, _, event, name, value in trace if event == "live"})
    return counts


class _Judge:
    """What is inside while a trace is read line by line."""

    def __init__(self, knows_callbacks: bool) -> None:
        self.found: list[str] = []
        self._knows_callbacks = knows_callbacks
        self._inside: list[str] = []
        self._submitted = False  # an rknn_run, perhaps one that has returned
        self._in_callback = False
        self._process = ""

    def read(self, event: str, name: str, value: str) -> None:
        """Take the next line."""
        if event == "begins" and value != self._process:  # of a process that has died nothing is inside any more
            self._inside, self._submitted, self._in_callback, self._process = [], False, False, value
        elif event == "callback":
            self._in_callback = self._knows_callbacks
        elif event == "resumed":
            self._in_callback = False
            if name in LAST_STATES:  # the run let go of the NPU before: what comes next need not wait for its return
                return
            self.found += [f"{late} was inside when a callback returned" for late in self._inside if late not in RUNS]
        elif name in NPU_FUNCTIONS:
            self._read_function(event, name, value)

    def _read_function(self, event: str, name: str, value: str) -> None:
        if event == "enter":
            self._enter(name)
        elif event == "submitted":
            self._submitted = True
        elif event == "finished":
            self._submitted = self._submitted and name != "rknn_run"
            self._leave(name)
        elif not (name == "rknn_run" and self._submitted) and not (name == "rkllm_run_async" and value == "0"):
            self._leave(name)

    def _enter(self, name: str) -> None:
        others = [
            other
            for other in self._inside
            if not (other in RUNS and self._in_callback) and not (other == "rknn_run" and name in WAITS)
        ]
        self.found += [f"{name} was entered while {other} was inside" for other in others]
        self._inside.append(name)

    def _leave(self, name: str) -> None:
        if name in self._inside:
            self._inside.remove(name)
