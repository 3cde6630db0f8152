"""Call the simulator by ctypes, for its own tests: record the callbacks and keep alive what C still points to."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rkllmd.abi.layouts.rkllm import LAYOUTS, Layout, LLMResultCallback

NORMAL, WAITING, FINISH, ERROR = range(4)


@dataclass
class Event:
    """One result callback: its state, the first entry's text, all entries, and the thread that made it."""

    state: int
    text: bytes | None
    token_id: int
    batch: list[tuple[bytes | None, int]]
    prefill_tokens: int
    generate_tokens: int
    rows: list[list[float]]
    thread: int


@dataclass
class Recorder:
    """Result callback that writes down what it is shown; ``reply`` says what it returns."""

    n_batch: int = 1
    reply: Callable[[Event], int] = field(default=lambda _event: 0)
    events: list[Event] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def __call__(self, result: Any, _userdata: int | None, state: int) -> int:
        """Record; the C signature is LLMResultCallback."""
        entries = [result[i] for i in range(self.n_batch)]
        first = entries[0]
        event = Event(
            state=state,
            text=first.text,
            token_id=first.token_id,
            batch=[(entry.text, entry.token_id) for entry in entries],
            prefill_tokens=first.perf.prefill_tokens,
            generate_tokens=first.perf.generate_tokens,
            rows=_rows(first),
            thread=threading.get_native_id(),
        )
        self.events.append(event)
        answer = self.reply(event)
        if state in (FINISH, ERROR):
            self.ended.set()
        return answer

    @property
    def states(self) -> list[int]:
        """The states in order."""
        return [event.state for event in self.events]

    @property
    def output(self) -> bytes:
        """All text, joined."""
        return b"".join(event.text or b"" for event in self.events)


def _rows(result: Any) -> list[list[float]]:
    """Return the hidden states or logits of a result."""
    hidden, logits = result.last_hidden_layer, result.logits
    if hidden.num_tokens:
        floats, width, count = hidden.hidden_states, hidden.embd_size, hidden.num_tokens
    else:
        floats, width, count = logits.logits, logits.vocab_size, logits.num_tokens
    return [[floats[row * width + column] for column in range(width)] for row in range(count)]


def stop_at(token: int) -> Callable[[Event], int]:
    return lambda event: int(event.state == NORMAL and event.token_id == 100 + token)


class Simulator:
    """A loaded simulator library."""

    def __init__(self, layout: str, path: Path) -> None:
        self.layout: Layout = LAYOUTS[layout]
        self.is_1_3 = layout != "1.2"
        self.dll = ctypes.CDLL(str(path))
        for name, signature in self.layout.signatures.items():
            function = getattr(self.dll, name)
            function.argtypes = signature.argtypes
            function.restype = signature.restype
        for name in ("calls", "overlaps", "freed_buffers", "complaints"):
            getattr(self.dll, f"simulator_{name}").restype = ctypes.c_long

    def __getattr__(self, name: str) -> Any:
        """Return a C function: ``simulator.rkllm_abort(handle)``."""
        return getattr(self.dll, name)

    def load(self, path: Path, *, n_batch: int = 1, **options: Any) -> Model:
        """Load a model; ``options`` are fields of RKLLMParam, RKLLMExtendParam and RKLLMCallback."""
        return Model(self, path, n_batch, options)


class Model:
    """A loaded model. ``status`` is what rkllm_init returned."""

    def __init__(self, simulator: Simulator, path: Path, n_batch: int, options: dict[str, Any]) -> None:
        self.simulator = simulator
        self.recorder = Recorder(n_batch)
        self.handle = ctypes.c_void_p()
        self._callback = LLMResultCallback(lambda *arguments: self.recorder(*arguments))
        param = simulator.dll.rkllm_createDefaultParam()
        param.model_path = str(path).encode()
        param.extend_param.n_batch = n_batch
        self.callbacks = simulator.layout["RKLLMCallback"](self._callback) if simulator.is_1_3 else None
        for name, value in options.items():
            for struct in (param, param.extend_param, self.callbacks):
                if hasattr(struct, name):
                    setattr(struct, name, value)
        self.param = param  # its strings must live as long as the handle
        callback = ctypes.byref(self.callbacks) if self.callbacks is not None else self._callback
        self.status: int = simulator.dll.rkllm_init(ctypes.byref(self.handle), ctypes.byref(param), callback)

    def __getattr__(self, name: str) -> Callable[..., int]:
        """Return a C function with this model's handle as its first argument: ``model.abort()``."""
        function = getattr(self.simulator.dll, f"rkllm_{name}")
        return lambda *arguments: function(self.handle, *arguments)

    def infer(self, **fields: Any) -> Any:
        """Return an RKLLMInferParam."""
        return self.simulator.layout["RKLLMInferParam"](**fields)

    def input(self, prompt: bytes | None = None, **fields: Any) -> Any:
        """Return an RKLLMInput, of a prompt unless ``fields`` say otherwise."""
        made = self.simulator.layout["RKLLMInput"](**fields)
        if prompt is not None:
            made.prompt_input = prompt
        return made

    def inputs(self, prompts: Iterable[bytes]) -> Any:
        """Return an array of inputs, for n_batch > 1."""
        made = [self.input(prompt) for prompt in prompts]
        return (self.simulator.layout["RKLLMInput"] * len(made))(*made)

    def play(
        self,
        given: Any = b"hello",
        infer: Any = None,
        *,
        reply: Callable[[Event], int] = lambda _event: 0,
        asynchronous: bool = False,
    ) -> tuple[int, Recorder]:
        """Run to the end (of the call, when ``asynchronous``) and return the status and what was called back."""
        made = self.input(given) if isinstance(given, bytes) else given
        self.recorder = Recorder(self.recorder.n_batch, reply)
        self.kept = made, infer or self.infer()
        run = self.simulator.dll.rkllm_run_async if asynchronous else self.simulator.dll.rkllm_run
        pointer = made if isinstance(made, ctypes.Array) else ctypes.byref(made)
        status = run(self.handle, pointer, ctypes.byref(self.kept[1]), None)
        return status, self.recorder

    def kv(self) -> list[int]:
        """Return the KV sizes of all batch entries."""
        sizes = (ctypes.c_int * self.recorder.n_batch)()
        assert self.get_kv_cache_size(sizes) == 0
        return list(sizes)
