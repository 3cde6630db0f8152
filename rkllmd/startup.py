"""Loads the configured models at start, through the same door as every client: rkllm.init."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import structlog
import trio

from rkllmd import dispatch, jsonrpc
from rkllmd.config import Config
from rkllmd.context import Context
from rkllmd.errors import RpcError
from rkllmd.npu import Job, as_error

log = structlog.get_logger()

DEMO: Final = "demo"
_DEMO_MODEL: Final = Path(__file__).parent / "portable" / "demo" / "demo.gguf"


class _Starter:
    """The client that the daemon itself is while it starts."""

    number = 0
    user: int | None = None

    def __init__(self) -> None:
        self.ended = trio.Event()
        self.error: RpcError | None = None

    def describe(self) -> str:
        return "start"

    def find_job(self, call_id: jsonrpc.Id) -> Job | None:
        return None

    def send_partials(self, call: jsonrpc.Call, partials: list[dict[str, Any]], *, as_notifications: bool) -> None:
        pass

    def send_partial_now(self, call: jsonrpc.Call, partial: dict[str, Any], *, as_notification: bool) -> bool:
        return True

    def answer(self, call: jsonrpc.Call, result: Any, fds: Sequence[int] = ()) -> None:
        self.ended.set()

    def refuse(self, call: jsonrpc.Call, error: RpcError) -> None:
        self.error = error
        self.ended.set()


async def load_models_at_start(context: Context, announce: Callable[[str], None]) -> None:
    """Load ``config.model``, and the declared models that are to be loaded at start, in the file's order.

    A failure is logged and announced; the daemon serves on without the model.
    """
    for path in _wanted(context.config):
        error = await _load(context, path)
        if error is None:
            announce(f"Model {path} is loaded.")
        else:
            log.error("model_not_loaded", model_path=path, error=error.to_json())
            announce(f"Model {path} is not loaded: {error.message}")


def _wanted(config: Config) -> list[str]:
    """Return what to load, each once: paths and names."""
    names = [model.name for model in config.models]
    first = str(_DEMO_MODEL) if config.model == DEMO and DEMO not in names else config.model
    loads = [model.name for model in config.models if model.autoload]
    return list(dict.fromkeys([first, *loads] if first else loads))


async def _load(context: Context, path: str) -> RpcError | None:
    request = jsonrpc.Request(jsonrpc.ABSENT, "rkllm.init", {"model_path": path}, {})
    starter, call = _Starter(), jsonrpc.Call(request, None)
    try:
        dispatch.start(context, starter, call, dispatch.prepare(context, starter, call))
        await starter.ended.wait()
    except Exception as error:
        return as_error(error, "rkllm.init")
    return starter.error
