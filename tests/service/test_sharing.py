"""Calls that share a batch: one job for all, each answered at its own end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from rkllmd.npu import views
from rkllmd.service import dispatch, preparation
from rkllmd.service.parts import Service
from tests.service.services import PATIENCE, Client, assembled, call_of, loaded


async def started(service: Service, *clients: Client) -> None:
    """Let a run of each wait; the first of them runs when all do."""
    for client in clients:
        call = call_of("rkllm.run", {"prompt": f"of {client.number}"})
        client.job = dispatch.start(service, client, call, preparation.prepare(service, client, call))


async def ended(*clients: Client) -> None:
    with trio.fail_after(PATIENCE):
        for client in clients:
            await client.ended.wait()


@pytest.fixture
def clients() -> list[Client]:
    return [Client(number, user=1000 + number) for number in range(1, 5)]


async def test_one_job_does_the_work_of_all(tmp_path: Path, clients: list[Client]) -> None:
    async with assembled(coalesce="always") as service:
        await loaded(service, tmp_path, extend_param={"n_batch": 3})
        await started(service, *clients)
        first = service.npu.queue.running
        assert first is not None
        assert first.client is None
        assert views.owner_of(first) is clients[0]
        assert len(first.members) == 1, "the others came later"
        await ended(*clients)
        assert [client.result["text"] for client in clients] == [f"[user] of {number}" for number in range(1, 5)]
        assert service.npu.queue.members == []


async def test_a_job_that_can_not_be_promised_is_refused_alone(tmp_path: Path, clients: list[Client]) -> None:
    async with assembled(coalesce="always") as service:
        await loaded(service, tmp_path, extend_param={"n_batch": 3})
        clients[2].unkept_reason = "the disk is full"
        await started(service, *clients)
        await ended(*clients)
        assert [client.kind for client in clients] == [None, None, "NotKept", None]


async def test_a_failure_is_that_of_each(tmp_path: Path, clients: list[Client], monkeypatch: Any) -> None:
    monkeypatch.setenv("RKLLM_SIMULATOR", "run=error")
    async with assembled(coalesce="always") as service:
        await loaded(service, tmp_path, extend_param={"n_batch": 3})
        await started(service, *clients)
        await ended(*clients)
        assert {client.kind for client in clients} == {"RuntimeError"}


async def test_when_the_daemon_leaves_all_of_them_end(tmp_path: Path, clients: list[Client], monkeypatch: Any) -> None:
    monkeypatch.setenv("RKLLM_SIMULATOR", "text=ab;repeat=100000;pace_us=1000;batch_step=0")
    async with assembled(coalesce="always") as service:
        await loaded(service, tmp_path, extend_param={"n_batch": 3}, max_new_tokens=0)
        await started(service, *clients)
        service.npu.close()
        await ended(*clients)
        assert [client.kind for client in clients] == [None, "ShuttingDown", "ShuttingDown", "ShuttingDown"]
        assert clients[0].result["finish_reason"] == "abort"
