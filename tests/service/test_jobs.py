"""Detached calls as the store has them: which can go on after a restart, and what their clients are told."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from rkllmd.calls.detached.call import DetachedCall
from rkllmd.language.model import Model
from rkllmd.service import jobs


def call() -> DetachedCall:
    return DetachedCall("rkllm.run", number=7, user=1000, name="job of client 7")


def model(number: int) -> Model:
    made = Model.__new__(Model)
    made.number = number
    return made


@pytest.mark.parametrize(
    ("objects", "request_line", "expected"),
    [
        (None, b'{"params":{"prompt":"x"}}', (None, False)),
        ([], b'{"params":{"model_path":"/x"}}', (None, False)),
        ([model(3)], b'{"params":{"prompt":"x"}}', (3, False)),
        ([None], b"{}", (None, False)),
        ([SimpleNamespace(number=4)], b"{}", (None, True)),
        ([model(3)], b'{"params":{"image":{"mem":7}}}', (3, True)),
        (None, b'{"params":{"inputs":[{"mem":7,"offset":0}]}}', (None, True)),
        ([model(3)], b'{"params":{"prompt":"mem"}}', (3, False)),
        ([model(3)], b'{"params":{"prompt":"\\"mem\\":7"}}', (3, False)),
    ],
)
def test_what_goes_with_the_daemon_binds_a_job(
    objects: list[Any] | None, request_line: bytes, expected: tuple[int | None, bool]
) -> None:
    prepared: Any = SimpleNamespace(objects=objects)
    record = jobs.record(call(), request_line, prepared, retry=True)
    assert (record.model, record.is_bound) == expected
    assert (record.user, record.connection, record.client) == (1000, 7, "job of client 7")
    assert (record.method, record.request, record.retry) == ("rkllm.run", request_line, True)
