"""How an answer is JSON."""

from __future__ import annotations

from collections.abc import Mapping

import orjson
from starlette.responses import Response

from rkllmd.json_types import Json


def answer_json(value: Json, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a response with a JSON value."""
    return Response(orjson.dumps(value), status, headers, media_type="application/json")
