"""Loads the configured model at start, through the same door as every client: rkllm.init."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from rkllmd import dispatch, jsonrpc
from rkllmd.context import Context
from rkllmd.jobs import DetachedCall
from rkllmd.npu import as_error

log = structlog.get_logger()

DEMO: Final = "demo"
DEMO_MODEL: Final = Path(__file__).parent / "portable" / "demo" / "demo.gguf"


async def load_model_at_start(context: Context, announce: Callable[[str], None]) -> None:
    """Load ``config.model``. A failure is logged and announced; the daemon serves on without a model."""
    path = context.config.model
    if path == DEMO:
        path = str(DEMO_MODEL)
    request = jsonrpc.Request(jsonrpc.ABSENT, "rkllm.init", {"model_path": path}, {})
    starter, call = DetachedCall(request.method, number=0, user=None, name="start"), jsonrpc.Call(request, None)
    try:
        dispatch.start(context, starter, call, dispatch.prepare(context, starter, call))
        await starter.ended.wait()
    except Exception as error:
        starter.refuse(call, as_error(error, request.method))
    if starter.error is None:
        announce(f"Model {path} is loaded.")
    else:
        log.error("model_not_loaded", model_path=path, error=starter.error)
        announce(f"Model {path} is not loaded: {starter.error['message']}")
