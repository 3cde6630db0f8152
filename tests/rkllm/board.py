"""A daemon that many tests share, on a simulator whose script each test writes for itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rkllmd.abi.library import layout_of
from tests.daemon import Daemon
from tests.wire_connection import Wire

# What the simulator's rkllm_createDefaultParam answers, in all layouts.
DEFAULTS: dict[str, Any] = {
    "model_path": None,
    "max_context_len": 512,
    "max_new_tokens": 256,
    "top_k": 1,
    "n_keep": 0,
    "top_p": 0.9,
    "temperature": 0.8,
    "repeat_penalty": 1.1,
    "frequency_penalty": 0.0,
    "presence_penalty": 0.0,
    "mirostat": 0,
    "mirostat_tau": 5.0,
    "mirostat_eta": 0.1,
    "skip_special_token": True,
    "is_async": False,
    "extend_param": {
        "base_domain_id": 0,
        "embed_flash": 0,
        "enabled_cpus_num": 4,
        "enabled_cpus_mask": 0xF0,
        "n_batch": 1,
        "use_cross_attn": 0,
    },
}
ONLY_1_2: dict[str, Any] = {"img_start": None, "img_end": None, "img_content": None}
ONLY_1_3: dict[str, Any] = {"ignore_eos_token": False}

# A run that goes on until something stops it; the model must be loaded with max_new_tokens 0.
ENDLESS = {"text": "abcd", "repeat": 1_000_000_000, "pace_us": 1000}

# A run that lasts forty seconds unless it is paused; without ``pace_us`` it resumes at once. max_new_tokens 0 here too.
PAUSABLE = {"text": " ".join(f"w{number}" for number in range(2000)), "tokens": "words", "pace_us": 20_000}


class Board:
    """The daemon, one connection, and what has reached C since the test began."""

    def __init__(self, directory: Path, version: str, *arguments: str) -> None:
        """Start a daemon; its script is empty."""
        directory.mkdir()
        self.version = version
        self.layout = layout_of(version)
        self.directory = directory
        self._script = directory / "script"
        self.script()
        self.daemon = Daemon(directory, *arguments, scenario=f"@{self._script}", version=version)
        self.daemon.wait_ready()
        self.model = self.daemon.model
        self.wire = self.connect()
        self.begin()

    def script(self, **pairs: Any) -> None:
        """Tell the simulator what to do from its next call on (``__`` stands for the dot in a key)."""
        fresh = self._script.with_suffix(".new")
        fresh.write_text("".join(f"{key.replace('__', '.')}={value}\n" for key, value in pairs.items()))
        fresh.replace(self._script)

    def connect(self) -> Wire:
        """Return another connection."""
        return self.daemon.connect()

    # -- asking ------------------------------------------------------------------------------------------------------

    def result(self, method: str, params: Any = None, **members: Any) -> Any:
        """Call a method and return its result; an error fails the test."""
        answer = self.wire.ask(method, params, **members)
        assert "result" in answer, answer
        return answer["result"]

    def error(self, method: str, params: Any = None, **members: Any) -> dict[str, Any]:
        """Call a method and return its error; a result fails the test."""
        answer = self.wire.ask(method, params, **members)
        assert "error" in answer, answer
        return dict(answer["error"])

    def refused(self, method: str, params: Any = None, **members: Any) -> dict[str, Any]:
        """Call a method that is refused before anything has reached C; return the error's data with its code."""
        before = self.calls()
        error = self.error(method, params, **members)
        assert self.calls() == before, f"C was called although {error}"
        return {"code": error["code"], "message": error["message"], **error["data"]}

    def load(self, **param: Any) -> int:
        """Load the model; return its handle."""
        return int(self.result("rkllm.init", {"model_path": str(self.model), **param})["handle"])

    def say(self, prompt: str = "Hi", **fields: Any) -> str:
        """Run the model; return its text."""
        return str(self.result("rkllm.run", {"prompt": prompt, **fields})["text"])

    def kv_sizes(self) -> list[int]:
        """Return the tokens in the KV cache."""
        return list(self.result("rkllm.get_kv_cache_size")["cache_sizes"])

    def start_endless_run(self, wire: Wire, call_id: Any = "endless") -> None:
        """Let ``wire`` start a run that does not end by itself; return when its first token is there."""
        self.script(**ENDLESS)
        wire.request("rkllm.run_async", {"prompt": "Hi"}, call_id)
        first = wire.receive()
        assert first["result"]["_callback_state"] == 0, first

    def file(self, name: str, content: bytes = b"") -> str:
        """Write a file beside the model; return its path."""
        path = self.directory / name
        path.write_bytes(content)
        return str(path)

    # -- what has reached C ------------------------------------------------------------------------------------------

    def calls(self) -> list[str]:
        """Return the C functions that were called since the test began."""
        lines = _from(self.daemon.trace_path, self._trace_mark).splitlines()
        return [name for _, _, event, name, _ in map(str.split, lines) if event == "enter"]

    def complaints(self) -> list[str]:
        """Return what the simulator has found wrong with its caller since the test began."""
        return [line for line in _from(self.daemon.log_path, self._log_mark).splitlines() if "SIMULATOR:" in line]

    # -- between tests -----------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Forget what was before."""
        self._trace_mark = self.daemon.trace_path.stat().st_size
        self._log_mark = self.daemon.log_path.stat().st_size
        self.daemon.hold()

    def end(self) -> None:
        """Unload what the test has left loaded, with whatever was running, and check the simulator's complaints."""
        self.script()
        self.daemon.let_go()
        self.wire.socket.close()  # what this connection has in flight ends
        self.wire = self.connect()
        for model in self.result("server.status")["models"]:
            self.result("rkllm.destroy", {"handle": model["handle"]})
        assert self.daemon.process.poll() is None, self.daemon.log()
        assert self.complaints() == []

    def stop(self) -> None:
        """End the daemon."""
        self.wire.socket.close()
        self.daemon.stop()


def _from(path: Path, mark: int) -> str:
    """Return what was appended to a file since it had ``mark`` bytes."""
    with path.open("rb") as file:
        file.seek(mark)
        return file.read().decode("utf-8", "replace")
