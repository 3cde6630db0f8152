"""Visits of RKNN: tensors as base64, as descriptors, and in memories that outlive their connection."""

from __future__ import annotations

import base64
import os
from typing import Any

from tests.server.descriptors.tensors import SIZE, closing, memfd, picture
from tests.soak.guest import Guest, opened
from tests.soak.place import Visit
from tests.soak.visits.upkeep import load
from tests.wire_connection import kind

_PICTURES = 16


def load_context(visit: Visit, guest: Guest, **params: Any) -> int | None:
    """Load the RKNN model; return its context, None if that has failed."""
    answer = load(guest, "rknn.init", {"model_path": str(visit.company.place.vision_model), **params})
    return None if kind(answer) else int(answer["result"]["context"])


def _must_fit(visit: Visit, number: int, answer: dict[str, Any]) -> None:
    if kind(answer) is None:
        visit.company.must_be_the_output(number, str(answer["result"]["outputs"][0]["data"]))


def pictures(visit: Visit) -> None:
    """Run on pictures in base64."""
    with opened(visit.company) as guest:
        context = load_context(visit, guest)
        for _ in range(visit.choice.randrange(1, 6)):
            number = visit.choice.randrange(_PICTURES)
            data = base64.b64encode(picture(number)).decode()
            if visit.choice.random() < 0.5:
                _must_fit(visit, number, guest.ask("rknn.infer", {"context": context, "inputs": data}))
            else:
                params = {"context": context, "input_data": data, "outputs": True}
                _must_fit(visit, number, guest.ask("rknn.run", params))
        if visit.choice.random() < 0.5:
            guest.ask("rknn.destroy", [context])


def descriptors(visit: Visit) -> None:
    """Run on pictures in memfds, with the outputs as descriptors; leave some of them behind."""
    with opened(visit.company) as guest:
        context = load_context(visit, guest)
        for _ in range(visit.choice.randrange(1, 6)):
            number = visit.choice.randrange(_PICTURES)
            params = {"context": context, "inputs": {"fd": 0, "size": SIZE}}
            with closing(memfd(picture(number))) as fds:
                answer = guest.answer(guest.begin("rknn.infer", params, fds=tuple(fds), reply_fds=True))
            if kind(answer) is None:
                output = answer["result"]["outputs"][0]
                data = os.pread(guest.wire.fds[output["fd"]], output["size"], 0)
                visit.company.must_be_the_output(number, base64.b64encode(data).decode())
            guest.wire.close_fds()
        with closing(memfd(picture(0))) as fds:  # and away
            params = {"context": context, "inputs": {"fd": 0, "size": SIZE}}
            guest.begin("rknn.infer", params, fds=tuple(fds), reply_fds=True)


def memories(visit: Visit) -> None:
    """Make a memory that outlives its connection; another one writes, reads and frees it."""
    with opened(visit.company) as guest:
        context = load_context(visit, guest, keep=True)
        made = guest.ask("rknn.create_mem", {"ctx": context, "size": 4096, "keep": True})
    with opened(visit.company) as other:
        if kind(made) is None and other.daemon == guest.daemon:
            memory, number = made["result"]["mem"], visit.choice.randrange(256)
            sync = {"mem": memory, "mode": "RKNN_MEMORY_SYNC_TO_DEVICE", "data": [number] * 8, "dtype": "uint8"}
            written = other.ask("rknn.mem_sync", sync)
            read = {"mem": memory, "mode": 2, "read": True, "size": 8, "encoding": "array", "dtype": "uint8"}
            answer = other.ask("rknn.mem_sync", read)
            if kind(written) is None and kind(answer) is None:
                assert answer["result"]["data"] == [number] * 8, answer
            other.ask("rknn.destroy_mem", {"mem": memory})
        if context is not None and other.daemon == guest.daemon:
            other.ask("rknn.destroy", [context])
