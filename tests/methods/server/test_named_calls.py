"""Which call an id or a job means, and that it is one of the two."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from rkllmd.calls.detached.call import DetachedCall
from rkllmd.calls.detached.calls import DetachedCalls
from rkllmd.config.quotas import quota
from rkllmd.errors import InvalidParams
from rkllmd.methods.server._named_calls import find
from rkllmd.store.jobs import Bounds

JOB: Any = object()


def named(call_id: Any, job_id: str | None, kept: DetachedCalls | None = None) -> Any:
    """Return what user 1000 finds, whose connection has a request with the id 7."""
    client = SimpleNamespace(find_job=lambda found: JOB if found == 7 else None, user=1000)
    invocation: Any = SimpleNamespace(method=SimpleNamespace(name="server.pause"), client=client)
    service: Any = SimpleNamespace(detached_calls=kept)
    return find(service, invocation, call_id, job_id)


@pytest.mark.parametrize(("call_id", "found"), [(7, JOB), (8, None), ("7", None)])
def test_an_id_is_one_of_the_connections_own(call_id: Any, found: Any) -> None:
    assert named(call_id, None) is found


async def test_a_job_is_one_of_the_users_own() -> None:
    kept = DetachedCalls()
    own, others = (DetachedCall("rkllm.run", number=1, user=user, name="job") for user in (1000, 1001))
    for call in (own, others):
        kept.add(call, Bounds(quota("max_jobs", 9, 9), quota("max_job_bytes", 2**20, 0), is_operator=False))
        call.job = JOB
    assert named(None, own.id, kept) is JOB
    assert named(None, others.id, kept) is None
    assert named(None, "unknown", kept) is None


@pytest.mark.parametrize(("call_id", "job_id", "keyword"), [(None, None, "required"), (7, "job", "oneOf")])
def test_it_is_one_of_the_two(call_id: Any, job_id: str | None, keyword: str) -> None:
    with pytest.raises(InvalidParams, match=r"^server\.pause needs ") as caught:
        named(call_id, job_id)
    assert (caught.value.data["path"], caught.value.data["keyword"]) == ("$.id", keyword)
