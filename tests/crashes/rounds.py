"""One keeper, whose daemons crash in each way in each of some C functions; each time the next one serves at once."""

from __future__ import annotations

import base64
import os
import time
from pathlib import Path
from typing import Any, Final, NamedTuple

from rkllmd.keeper.ties import REPLACE_ME
from tests.crashes.leftovers import Leftovers
from tests.daemon import Daemon
from tests.rknn.board import BYTES, ECHO
from tests.wire_connection import Wire
from tests.wire_connection import kind as kind_of

# How it crashes, and how its keeper says that. A daemon whose NPU is stuck ends itself.
ENDS: Final = {
    "segfault": "SIGSEGV",
    "abort": "SIGABRT",
    "exit": "exit status 3",
    "hang": f"exit status {REPLACE_ME}",
}
# In each, and the method that gets there.
FUNCTIONS: Final = {
    "rkllm_init": "rkllm.init",
    "rkllm_run": "rkllm.run",
    "rkllm_run_async": "rkllm.run_async",
    "rkllm_destroy": "rkllm.destroy",
    "rkllm_load_lora": "rkllm.load_lora",
    "rknn_init": "rknn.init",
    "rknn_run": "rknn.run",
    "rknn_matmul_run": "rknn.matmul_run",
}
# Faults that have a key of their own: the first token of a run is out by then.
_KEYS: Final = {
    "rkllm_init": ("init", ""),
    "rkllm_run": ("run", "@1"),
    "rkllm_run_async": ("run", "@1"),
    "rknn_init": ("init", ""),
    "rknn_run": ("run", ""),
}
# What the simulator's model answers, whatever it is asked.
_TEXT: Final = "Hello"


def _limits(ms: int) -> tuple[str, ...]:
    """Return what bounds a call that hangs, whatever it is: then its client is answered, and the NPU is lost."""
    return (
        *("--timeouts-ms", ":".join(f"{method}={ms}" for method in FUNCTIONS.values())),
        *("--token-timeout-ms", str(ms), "--grace-ms", "50"),
        *("--no-progress-seconds", "1", "--device-lost-seconds", "1"),
    )


def _answers(wire: Wire) -> list[Any]:
    """Return what has answered the request before the end of file: an error, or a whole result."""
    messages = iter(wire.receive, None)
    return [message for message in messages if "error" in message or message["result"].get("_callback_state", 2) == 2]


def _wrong_answers(answers: list[Any], kind: str) -> list[str]:
    """Return what is wrong with them: a daemon that crashes answers nothing, one that ends itself answers once."""
    if kind != "hang":
        return [f"it was answered: {answer}" for answer in answers]
    is_told = [kind_of(answer) for answer in answers] in (["Timeout"], ["DeviceLost"])
    return [] if is_told else [f"it was answered: {answers}, not Timeout or DeviceLost"]


class Crash(NamedTuple):
    """What a crash has shown; milliseconds count from the end of the crashed daemon's connection."""

    # To the first answer of the next one, and to the answer of the model, which was loaded again before it.
    answered_ms: float
    generated_ms: float
    # What is not as it should be, and what was not given back.
    wrong: list[str]
    leaked: list[str]


class Rounds:
    """The daemon under its keeper. Each crash has a model of its own: three on one would set it aside."""

    def __init__(self, directory: Path, *, limit_ms: int = 1000, load_ms: int = 0) -> None:
        """``limit_ms``: how long a call may take; ``load_ms``: how long the loading of a model takes."""
        self.directory = directory
        self.leftovers: Leftovers | None = None
        self._count = 0
        self._load_ms = load_ms
        self._ticket = directory / "ticket"
        self._rknn = directory / "rknn"
        self._rknn.write_text("")
        self._models = directory / "models"
        self._models.mkdir()
        state = directory / "state"
        state.mkdir(mode=0o700)
        daemon = directory / "daemon"
        daemon.mkdir()
        self.daemon = Daemon(
            daemon,
            *("--state-directory", str(state), *_limits(limit_ms)),
            keeper=True,
            changing=True,
            scenario=f"text={_TEXT}",
            rknn_scenario=f"@{self._rknn}",
        )
        self.daemon.wait_ready()
        # What there is from the first crash on stays as it is from then on.
        self.crash("rkllm_run", "abort")
        self.leftovers = Leftovers(self.daemon, state)

    def crash(self, function: str, kind: str) -> Crash:
        """Have the daemon crash once, and look at the next one."""
        self._count += 1
        model = self._models / f"{self._count}.rkllm"
        model.touch()
        with self.daemon.connect() as wire:
            handle = None if function == "rkllm_init" else self._load(wire, model)
            words = f"E C: the last words of crash {self._count}"
            self._play(function, kind, words)  # RKNN's simulator reads it when it makes a context
            params = self._prepared(wire, function, model)
            wire.request(FUNCTIONS[function], params, "crash")
            answers = _answers(wire)
        begun = time.monotonic()
        with self.daemon.connect() as wire:
            status = wire.ask("server.status")["result"]
            answered = time.monotonic() - begun
            self._play()
            wrong = _wrong_answers(answers, kind)
            wrong += self._wrong(status["last_crash"], function, kind, words)
            if function in ("rkllm_init", "rkllm_destroy"):
                handle = self._load(wire, model)
            answer = wire.ask("rkllm.run", {"handle": handle, "prompt": "Hi"})
            generated = time.monotonic() - begun
            if answer.get("result", {}).get("text") != _TEXT:
                wrong.append(f"the model: {answer}")
            self._destroy(wire, handle)
        for file in self._models.iterdir():
            file.unlink()
        leaked = [] if self.leftovers is None else self.leftovers.found()
        return Crash(answered * 1000, generated * 1000, wrong, leaked)

    @staticmethod
    def _load(wire: Wire, model: Path) -> int:
        answer = wire.ask("rkllm.init", {"model_path": str(model)})
        assert "result" in answer, answer
        return int(answer["result"]["handle"])

    @staticmethod
    def _destroy(wire: Wire, handle: int | None) -> None:
        answer = wire.ask("rkllm.destroy", [handle])
        assert "result" in answer, answer

    @staticmethod
    def _prepared(wire: Wire, function: str, model: Path) -> dict[str, Any]:
        """Make what the function needs; return its parameters."""
        program = model.with_suffix(".rknn")
        program.write_bytes(ECHO)
        if function == "rkllm_init":
            return {"model_path": str(model)}
        if function == "rkllm_load_lora":
            return {"lora_adapter_path": str(model)}
        if function == "rknn_init":
            return {"model_path": str(program)}
        if function == "rknn_run":
            context = wire.ask("rknn.init", {"model_path": str(program)})["result"]["context"]
            return {"context": context, "inputs": {"data": base64.b64encode(BYTES).decode()}}
        if function == "rknn_matmul_run":
            made = wire.ask("rknn.matmul_create", {"info": {"M": 1, "K": 32, "N": 32, "type": 2}})["result"]
            for letter in "ABC":
                size = {"size": made["io_attr"][letter]["size"], "ctx": made["context"]}
                memory = wire.ask("rknn.create_mem", size)["result"]["mem"]
                attr = {"name": letter}
                wire.ask("rknn.matmul_set_io_mem", {"ctx": made["context"], "mem": memory, "attr": attr})
        return {"prompt": "Hello"} if function.startswith("rkllm_run") else {}

    def _play(self, function: str = "", kind: str = "", words: str = "") -> None:
        """Have the next call of the function crash, once; nothing without one."""
        fault: dict[str, str] = {}
        if function:
            self._ticket.touch()
            key, when = _KEYS.get(function, (f"fault.{function}", ""))
            fault = {key: f"{kind}{when}", "print.stderr": words, "print_at": function}
            fault["fault_ticket"] = str(self._ticket)
        is_rknn = function.startswith("rknn")
        load = {"delay.rkllm_init": self._load_ms} if self._load_ms else {}
        self.daemon.play(text=_TEXT, **load, **({} if is_rknn else fault))
        self._rknn.write_text("".join(f"{name}={value}\n" for name, value in fault.items()) if is_rknn else "")

    def _wrong(self, crash: Any, function: str, kind: str, words: str) -> list[str]:
        if crash is None:
            return ["no crash is known"]
        call, lines = crash["call"] or {}, crash["lines"]
        facts = [
            ("the function", call.get("function"), function),
            ("the method", call.get("method"), FUNCTIONS[function]),
            ("the client", call.get("pid"), os.getpid()),
            ("the end", crash["end"], ENDS[kind]),
            ("the crashes", crash["crashes"], self._count),
            ("the last line", lines[-1] if lines else None, words),
        ]
        return [f"{what} is {found!r}, not {expected!r}" for what, found, expected in facts if found != expected]
