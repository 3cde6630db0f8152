"""How an answer is JSON, and how a failure is an answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import orjson
from starlette.responses import Response

from rkllmd.gateway import failures
from rkllmd.gateway.access_log import record
from rkllmd.gateway.failures import Failure
from rkllmd.json_types import Json, JsonObject


def answer_json(value: Json, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a response with a JSON value."""
    return Response(orjson.dumps(value), status, headers, media_type="application/json")


def answer_failure(error: Exception, shown: Callable[[Failure], JsonObject]) -> Response:
    """Return a response with what an error is for clients, in the shape ``shown``.

    What is no error of a request or of the daemon is raised again.
    """
    failure = failures.of(error)
    record.current().error = failure.kind
    return answer_json(shown(failure), failure.status, failure.headers)
