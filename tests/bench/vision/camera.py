"""A camera beside a long answer: how long its frames take, and what they cost the answer."""

from __future__ import annotations

import base64
import threading
import time
from pathlib import Path
from typing import Final

from rkllmd.client import Client
from tests.bench.measure import NO_TRACE
from tests.daemon import Daemon

FRAMES_PER_SECOND: Final = 15
TOKENS_PER_SECOND: Final = 15
FRAME_SECONDS: Final = 0.02
_PICTURE: Final = base64.b64encode(bytes(48)).decode()


def answer_with_camera(folder: Path, function: str, between: str, tokens: int) -> tuple[list[float], float]:
    """Return the seconds of each frame, sorted, and those of the answer, which the NPU takes in turns."""
    scenario = f"text=x ;repeat={tokens};tokens=words;pace_us={1_000_000 // TOKENS_PER_SECOND}"
    arguments = ("--run-async-calls", function, "--between-tokens", between)
    frame = f"run_us={int(1_000_000 * FRAME_SECONDS)}"
    frames: list[float] = []
    stop = threading.Event()
    with Daemon(folder, *arguments, scenario=scenario, rknn_scenario=frame, environ=NO_TRACE) as daemon:
        daemon.load(max_new_tokens=0)
        camera = threading.Thread(target=_camera, args=(daemon, frames, stop))
        camera.start()
        with Client(daemon.path) as client:
            while len(frames) < 5:  # it has settled
                time.sleep(0.01)
            frames.clear()
            started = time.monotonic()
            client.call("rkllm.run_async", {"prompt": "tell me"})
            took = time.monotonic() - started
        stop.set()
        camera.join()
    return sorted(frames), took


def _camera(daemon: Daemon, frames: list[float], stop: threading.Event) -> None:
    with Client(daemon.path) as client:
        client.call("rknn.init", {"model_path": str(daemon.model)})
        due = time.monotonic()
        while not stop.is_set():
            started = time.monotonic()
            client.call("rknn.infer", {"inputs": _PICTURE})
            frames.append(time.monotonic() - started)
            due += 1 / FRAMES_PER_SECOND
            stop.wait(max(0.0, due - time.monotonic()))
