"""All parts of a daemon on the simulators, inside the test's own trio run: no socket, no process."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from rkllmd.calls.declaration import Kind, Method, Parameter
from rkllmd.calls.detached.call import DetachedCall
from rkllmd.config.settings import Config
from rkllmd.npu.queue import Queue
from rkllmd.service import assembly, dispatch, preparation
from rkllmd.service.parts import Service
from rkllmd.wire import jsonrpc
from rkllmd.wire.descriptors import NO_DESCRIPTORS, Descriptors
from tests.daemon import rknn_simulator, simulator

PATIENCE = 120


class Client(DetachedCall):
    """A client that keeps the answer of its last call."""

    def __init__(self, number: int = 1, user: int | None = 1000) -> None:
        super().__init__("test", number=number, user=user, name=f"client {number}")
        self.fds: Descriptors = NO_DESCRIPTORS

    def answer(self, call: jsonrpc.Call, result: Any, fds: Descriptors = NO_DESCRIPTORS) -> None:
        """Keep the result, and the descriptors that go with it."""
        self.fds = fds
        super().answer(call, result, fds)

    @property
    def kind(self) -> str | None:
        """Return the kind of the error that it was answered."""
        return None if self.error is None else str(self.error["data"]["kind"])


def call_of(
    method: str, params: Any = None, *, call_id: Any = 1, fds: Descriptors = NO_DESCRIPTORS, **members: Any
) -> jsonrpc.Call:
    """Return a call as it comes from a connection."""
    call = jsonrpc.Call(jsonrpc.Request(call_id, method, [] if params is None else params, members), None)
    call.fds = fds
    return call


def method(
    *parameters: Parameter,
    kind: Kind = Kind.NPU,
    call: Callable[..., Any] = lambda *_, **__: {},
    name: str = "rkllm.test",
    **more: Any,
) -> Method:
    """Return a method of the test's own."""
    return Method(kind, parameters, name=name, call=call, **more)


@asynccontextmanager
async def assembled(runtime: str = "simulator", **settings: Any) -> AsyncIterator[Service]:
    """Give the parts; the worker thread ends at the end."""
    libraries = {"rkllm_library": str(simulator()), "rknn_library": str(rknn_simulator())}
    config = Config(runtime=runtime, **{**libraries, **settings})
    service = assembly.assemble(
        config,
        Queue(assembly.queue_limits(config)),
        printed=-1,
        when_handled=lambda function: function(),
        on_outage=lambda _: None,
        on_given_up=lambda _: None,
        pid=os.getpid(),
    )
    service.methods = dict(service.methods)  # a test may add its own: those of the registry are everybody's
    try:
        yield service
    finally:
        with trio.fail_after(PATIENCE):
            await service.npu.idle.wait()
        assert service.npu.stop()
        service.store.close()


async def loaded(service: Service, directory: Path, **param: Any) -> int:
    """Load a model; return its handle."""
    (directory / "model.rkllm").touch()
    client = Client(user=os.geteuid())  # who may see the test's files
    call = call_of("rkllm.init", {"model_path": str(directory / "model.rkllm"), **param})
    dispatch.start(service, client, call, preparation.prepare(service, client, call))
    with trio.fail_after(PATIENCE):
        await client.ended.wait()
    assert client.error is None, client.error
    handle = int(client.result["handle"])
    service.language.models.get(handle).user = Client().user
    return handle
