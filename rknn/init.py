"""rknn_init: load a model; its context belongs to the connection unless keep is set.

C: int rknn_init(rknn_context *context, void *model, uint32_t size, uint32_t flag, rknn_init_extend *extend)

``model`` is a path, or the file's contents as ``{"data": base64}`` or ``{"fd": n}``; ``model_path`` is always a path.
On machines without an NPU an ONNX file takes the place of a .rknn file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

import structlog

from rkllmd.abi.c import Structure, addressof, byref, c_char_p, c_void_p, cast, shared_bytes
from rkllmd.abi.json.convert import to_c
from rkllmd.abi.json.tensors import Buffer, read_buffer
from rkllmd.abi.layouts.rknn import rknn_init_extend
from rkllmd.abi.layouts.rknn_constants import rknn_core_mask, rknn_flag
from rkllmd.calls import authority
from rkllmd.calls.declaration import FORCE, COnly, Kind, StructParameter, Value, method
from rkllmd.calls.handles import resolve
from rkllmd.calls.invocation import Invocation
from rkllmd.errors import InvalidParams, PermissionDenied
from rkllmd.json_types import JsonObject
from rkllmd.machine import paths
from rkllmd.machine.disk.seeing import Viewer
from rkllmd.machine.disk.unchanged import unchanged
from rkllmd.trials import trial
from rkllmd.trials.quarantine import content_hash
from rkllmd.vision import demand
from rkllmd.vision import trial as rknn_trial
from rkllmd.vision.objects import Context, TensorMemory
from rkllmd.vision.parts import Vision
from rkllmd.vision.release import destroy
from rknn._common import (
    CONTEXT,
    KEEP,
    check_handles,
    check_own_handles,
    enum_schema,
    flags_schema,
    mask_of,
    member_of,
)
from rknn._contexts import add

if TYPE_CHECKING:
    from rkllmd.calls.arguments import Converted

log = structlog.get_logger()

# C's size has 32 bits; 0 would mean that the bytes are a path, which nobody has checked.
_MOST_BYTES = 2**32 - 1
_MODEL = Value(
    "model",
    {"type": ["string", "object"], "description": "A path, or the contents: {data: base64} or {fd: n}."},
    required=False,
    is_tensor=True,
)
_MODEL_PATH = Value("model_path", {"type": "string", "description": "As model."}, required=False, in_c=False)
_FLAG = Value(
    "flag",
    flags_schema(rknn_flag.__members__, "RKNN_FLAG_…, a mask or an array of names; also called flags."),
    required=False,
    aliases=("flags",),
)
_CORE_MASK = Value(
    "core_mask", enum_schema(rknn_core_mask, "As rknn.set_core_mask after the load."), required=False, in_c=False
)


def _check(
    vision: Vision,
    invocation: Invocation,
    model: Converted | None = None,
    model_path: str | None = None,
    core_mask: str | int | None = None,
    **_: object,
) -> None:
    vision.runtime.library  # noqa: B018 - raises if there is none
    check_own_handles(vision, invocation)
    if (model is None) == (model_path is None):
        raise InvalidParams(
            "rknn.init needs either model_path or model.", path="$.model_path", keyword="oneOf", limit=["model_path"]
        )
    _cores(vision, core_mask)
    if model is None or not isinstance(model.json, dict):
        _path(vision, invocation, model, model_path)


def _cores(vision: Vision, core_mask: str | int | None) -> int | None:
    """Return the cores that the client asks for, else those of the configuration. Raises InvalidParams."""
    if core_mask is None:
        return vision.board.core_mask
    return vision.board.check_cores(member_of(rknn_core_mask, core_mask), "$.core_mask")


def _path(vision: Vision, invocation: Invocation, model: Converted | None, model_path: str | None) -> str:
    """Return the file to load. Raises InvalidParams, PermissionDenied."""
    given, where = (str(model_path), "$.model_path") if model is None else (str(model.json), model.path)
    config, viewer = vision.config, authority.viewer(invocation.client, vision.config)
    return str(
        paths.readable_file(given, config.allowed_directories, where, base=config.model_directory, viewer=viewer)
    )


def _seen_by(vision: Vision, invocation: Invocation, path: str) -> dict[str, Viewer]:
    """Return who has to be allowed to read a model and the files that it names; the model may be long.

    Raises PermissionDenied if the client may not read one of them.
    """
    viewer = authority.viewer(invocation.client, vision.config)
    if viewer is None:
        return {}
    named = [str(paths.follow(file, "$.model_path", viewer)) for file in rknn_trial.named_in(vision, path)]
    return {file: viewer for file in (path, *named) if os.path.isfile(file)}


def _model_of(vision: Vision, model: Converted | None = None, model_path: str | None = None, **_: object) -> str | None:
    return model.json if model is not None and isinstance(model.json, str) else model_path


@method(
    Kind.NPU,
    [
        COnly("context"),
        _MODEL,
        COnly("size"),
        _FLAG,
        StructParameter("extend", "rknn_init_extend", required=False, raw=True),
        _MODEL_PATH,
        _CORE_MASK,
        KEEP,
        FORCE,
    ],
    check=_check,
    changes=CONTEXT.types,
    fits_between_tokens=False,
    loads=True,
    model_of=_model_of,
)
def init(
    vision: Vision,
    invocation: Invocation,
    model: Converted | None = None,
    flag: str | int | list[str] = 0,
    extend: Converted | None = None,
    model_path: str | None = None,
    core_mask: str | int | None = None,
    keep: bool = False,
    force: bool = False,
) -> JsonObject:
    """Load the model; return its context and how many inputs and outputs it has."""
    check_handles(vision, invocation)
    cores = _cores(vision, core_mask)
    ctx = Context(path="", size_bytes=0, flag=mask_of(rknn_flag.__members__, flag))
    c_extend = None if extend is None else _extend(vision, invocation, ctx, extend)
    buffer, seen_by = None, dict[str, Viewer]()
    if model is None or not isinstance(model.json, dict):
        ctx.path = _path(vision, invocation, model, model_path)
        seen_by = _seen_by(vision, invocation, ctx.path)
        ctx.size_bytes = os.stat(ctx.path).st_size
        argument, size = cast(c_char_p(os.fsencode(ctx.path)), c_void_p), 0
    else:
        buffer = _contents(model)
        memory = shared_bytes(buffer.data, buffer.size)
        # Not by cast, which makes a reference cycle: a mapped descriptor would wait for the garbage collector.
        argument, size = c_void_p(addressof(memory)), buffer.size
        ctx.size_bytes = size
        ctx.keep_alive.append(memory)
        ctx.content = content_hash(memoryview(buffer.data).cast("B"))
        if isinstance(model.json, dict) and "mem" in model.json:  # C may go on reading it (ZERO_COPY)
            lent = model.sources.memory(model.json["mem"], model.path)
            assert isinstance(lent, TensorMemory)
            ctx.outside.append(lent)
    if extend is not None:
        _check_part(ctx, extend)
    trial.refuse_set_aside(vision, ctx.source, force=force)
    part = 0 if extend is None else int(extend.json.get("real_model_size", 0))
    asked = demand.of(ctx, part)
    vision.memory_guard.check(asked)
    with unchanged(seen_by, vision.config.allowed_directories, seen_by):
        _try(vision, ctx, buffer, extend)
    available = vision.memory_guard.machine_available_bytes
    _call(vision, ctx, argument, size, c_extend, seen_by)
    if not ctx.flag & rknn_flag.RKNN_FLAG_MODEL_BUFFER_ZERO_COPY:
        ctx.keep_alive.clear()
    result = add(vision, invocation, ctx, keep=keep, cores=cores)
    vision.memory_guard.footprints.learn(asked, available - vision.memory_guard.machine_available_bytes)
    log.info("context_made", context=ctx.number, model_path=ctx.path, bytes=ctx.size_bytes)
    return result


def _call(
    vision: Vision,
    ctx: Context,
    argument: c_void_p,
    size: int,
    extend: Structure | None,
    seen_by: Mapping[str, Viewer],
) -> None:
    """Call rknn_init. Raises RuntimeFailure, and PermissionDenied if the file was swapped meanwhile."""
    extended = None if extend is None else byref(extend)
    try:
        files = dict.fromkeys([ctx.path, *seen_by]) if ctx.path else ()
        with unchanged(files, vision.config.allowed_directories, seen_by):
            vision.runtime.call("rknn_init", byref(ctx.pointer), argument, size, ctx.flag, extended, on=ctx)
    except PermissionDenied:
        if ctx.pointer:
            destroy(vision, ctx)
        raise


def _contents(model: Converted) -> Buffer:
    """Return the bytes of a model that came over the socket. Raises InvalidParams."""
    buffer = read_buffer(model.json, "uint8", model.path, model.sources)
    if not 0 < buffer.size <= _MOST_BYTES:
        raise InvalidParams(
            f"{model.path} has {buffer.size} bytes; a model has 1 to {_MOST_BYTES}.",
            path=model.path,
            keyword="maximum",
            limit=_MOST_BYTES,
        )
    return buffer


def _try(vision: Vision, ctx: Context, buffer: Buffer | None, extend: Converted | None) -> None:
    """Try a model that was never loaded before (``rkllmd/trials/trial.py``). Raises RuntimeFailure, Cancelled."""
    if buffer is not None:
        item = rknn_trial.of_bytes(vision, memoryview(buffer.data).cast("B"))
    else:
        given = {} if extend is None else extend.json
        offset, part = (int(given.get(f"real_model_{name}", 0)) for name in ("offset", "size"))
        item = rknn_trial.of_file(vision, ctx.path, offset, part)
    if item is not None:
        trial.run(vision, item)


def _check_part(ctx: Context, extend: Converted) -> None:
    """Refuse a part that does not lie within the model's file. Raises InvalidParams."""
    offset, size = (int(extend.json.get(f"real_model_{name}", 0)) for name in ("offset", "size"))
    available = ctx.size_bytes if ctx.path else 0
    if offset < 0 or offset + size > available:
        raise InvalidParams(
            f"{extend.path}: real_model_offset and real_model_size must lie within the file, and need model_path.",
            path=f"{extend.path}.real_model_offset",
            keyword="maximum",
            limit=available,
        )


def _extend(vision: Vision, invocation: Invocation, ctx: Context, extend: Converted) -> rknn_init_extend:
    """Return the rknn_init_extend, with the context and the descriptor that the JSON refers to. Raises RpcError."""
    fields = {name: value for name, value in extend.json.items() if name not in ("ctx", "model_buffer_fd")}
    struct = to_c(fields, rknn_init_extend, extend.path, ctx.keep_alive)
    if "ctx" in extend.json:
        struct.ctx = resolve([vision.contexts], extend.json["ctx"], invocation.client.number).pointer
    if "model_buffer_fd" in extend.json:
        struct.model_buffer_fd = extend.sources.descriptor(
            extend.json["model_buffer_fd"], f"{extend.path}.model_buffer_fd"
        )
    return struct
