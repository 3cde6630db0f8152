"""What the methods that are about another call share: how that call is named and found."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from rkllmd.calls.declaration import Value
from rkllmd.calls.invocation import Invocation
from rkllmd.errors import InvalidParams
from rkllmd.npu.job import Job
from rkllmd.service.parts import Service
from rkllmd.wire.jsonrpc import Id

CALL_ID: Final = Value(
    "id",
    {"type": ["string", "integer"], "description": "the id of a request in flight on the same connection"},
)
# As server.submit returns it. It has no position: a single positional value is an id.
JOB_ID: Final = Value("job", {"type": "string", "description": "the job that server.submit has answered"}, in_c=False)
CALL_OR_JOB: Final = (replace(CALL_ID, required=False), replace(JOB_ID, required=False))


def find(service: Service, invocation: Invocation, call_id: Id, job_id: str | None) -> Job | None:
    """Return the waiting or running call that the id or the job names. Raises InvalidParams."""
    if (call_id is None) == (job_id is None):
        raise InvalidParams(
            f"{invocation.method.name} needs either id (of a request on this connection) or job (of server.submit).",
            path="$.id",
            keyword="required" if call_id is None else "oneOf",
        )
    if job_id is None:
        return invocation.client.find_job(call_id)
    found = service.detached_calls.find(job_id, invocation.client.user)
    return None if found is None else found.job
