"""The daemon that all examples share, and what the simulators do to it."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from tests.daemon import Daemon, Start

PICTURE = base64.b64encode(bytes(48)).decode()
CALM = {"text": "a b c d", "tokens": "words", "pace_us": 200, "prefill_abort": 1, "trace_callbacks": 2}
# What goes wrong until it is over: for RKLLM, for RKNN.
FAULTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "a run fails at its first token": ({"run": "error@0"}, {}),
    "a run fails at its third token": ({"run": "error@2"}, {}),
    "a run fails without a callback": ({"run": "fail"}, {}),
    "models can't be loaded": ({"init": "fail"}, {}),
    "nothing of RKLLM works": ({"init": "fail", "run": "fail"}, {}),
    "an abort comes late": ({"abort_lag": 3}, {}),
    "no last callback after an abort": ({"finish_after_abort": 0}, {}),
    "no vision model can be loaded": ({}, {"init": "fail"}),
    "vision runs fail": ({}, {"run": "fail", "log": "none"}),
    "vision runs take long": ({"repeat": 20}, {"run_us": 3000}),
    "inputs are refused": ({}, {"fault.rknn_inputs_set": "fail"}),
    "outputs are refused": ({}, {"fault.rknn_outputs_get": "fail"}),
    "no tensor memory": ({}, {"fault.rknn_create_mem": "fail"}),
    "the NPU is stuck": ({}, {"run": "fail"}),  # with the line that says so
}


# Models that take the place of others, which sleep from then on.
SWAPPED = ("one", "other")


def _declared(directory: Path, name: str) -> str:
    path = directory / f"{name}.rkllm"
    path.touch()
    return f'[models.{name}]\nmodel_path = "{path}"\nswap = true\n'


class World:
    """The daemon of all examples; a new one after an example that failed."""

    def __init__(self, start: Start, directory: Path) -> None:
        self.daemon: Daemon
        self._start = start
        self._directory = directory
        self._daemons = 0
        self._trace_offset = 0
        self.is_clean = False
        self.vision = directory / "model.rknn"
        self.vision.touch()
        self._config = directory / "rkllmd.toml"
        self._config.write_text("".join(_declared(directory, name) for name in SWAPPED))
        self._rknn_weather = directory / "rknn"
        self.play({}, {})

    def begin(self) -> None:
        """Have a daemon that holds nothing."""
        if not self.is_clean:
            if self._daemons:
                self.daemon.process.kill()
            self._daemons = 0
            self.play({}, {})
            self.daemon = self._start(
                *("--config", str(self._config)),
                *("--max-models", "2", "--between-tokens", "always", "--grace-ms", "200"),
                # No limit of the configuration's is for a machine that is slow.
                *("--device-retry-seconds", "1", "--timeouts-ms", "default=3600000", "--token-timeout-ms", "3600000"),
                scenario=CALM,
                rknn_scenario=f"@{self._rknn_weather}",
                changing=True,
            )
            self._daemons = 1
            self._trace_offset = 0
            self._warm_up()
            self.descriptors, _ = self.daemon.settled()
        self.is_clean = False

    def play(self, rkllm: dict[str, Any], rknn: dict[str, Any]) -> None:
        """Let the simulators do this."""
        beside = self._rknn_weather.with_suffix(".new")
        beside.write_text("".join(f"{key}={value}\n" for key, value in rknn.items()))
        beside.replace(self._rknn_weather)
        if self._daemons:
            self.daemon.play(**CALM | rkllm)

    def take_trace(self) -> list[list[str]]:
        """Return the lines of the trace since the last time."""
        with self.daemon.trace_path.open("rb") as file:
            file.seek(self._trace_offset)
            whole = file.read().rpartition(b"\n")[0]
        self._trace_offset += len(whole)
        return [line.split() for line in whole.decode().splitlines() if line]

    def _warm_up(self) -> None:
        """Do a bit of everything: what the daemon opens once is no leak."""
        with self.daemon.connect() as wire:
            handle = wire.ask("rkllm.init", {"model_path": str(self.daemon.model)})["result"]["handle"]
            wire.ask("rkllm.run_async", [handle, {"prompt_input": "Hello"}])
            wire.ask("rkllm.destroy", [handle])
            context = wire.ask("rknn.init", {"model_path": str(self.vision)})["result"]["context"]
            wire.ask("rknn.infer", {"context": context, "inputs": PICTURE})
