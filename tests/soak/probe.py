"""The client that measures: how long an instant call takes, and a generation to its first token."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Final

from tests.soak.guest import Gone, opened
from tests.soak.place import Company, Place
from tests.soak.sampler import Sampler
from tests.wire_connection import kind

_PAUSE_SECONDS: Final = 0.05
# This many instant calls for each generation.
_INSTANT_CALLS: Final = 5


class Probe:
    """A thread that measures beside everything else that goes on."""

    def __init__(self, place: Place, sampler: Sampler) -> None:
        self.failures: list[str] = []
        self._company = Company(place)
        self._sampler = sampler
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._measure, daemon=True)

    def begin(self) -> None:
        """Measure from now on."""
        self._thread.start()

    def end(self) -> None:
        """Stop."""
        self._stop.set()
        self._thread.join(60)

    def _measure(self) -> None:
        while not self._stop.is_set():
            try:
                with contextlib.suppress(Gone):
                    self._measure_once()
            except Exception as error:
                self.failures.append(f"the probe: {error!r}")
                return
            self._stop.wait(_PAUSE_SECONDS)

    def _measure_once(self) -> None:
        with opened(self._company) as guest:
            for _ in range(_INSTANT_CALLS):
                began = time.perf_counter()
                guest.ask("rkllm.get_constants")
                self._sampler.instant.append(1000 * (time.perf_counter() - began))
                time.sleep(_PAUSE_SECONDS / 2)
            models = [
                model for model in guest.status["models"] if model["model_path"] == str(self._company.place.model)
            ]
            if models:
                mark = guest.mark()
                began = time.perf_counter()
                call = guest.begin("rkllm.run_async", {"handle": models[0]["handle"], "prompt": mark}, mark)
                guest.receive()
                took = 1000 * (time.perf_counter() - began)
                if kind(guest.answer(call)) is None:
                    self._sampler.first_token.append(took)
