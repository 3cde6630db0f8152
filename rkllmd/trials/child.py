"""Loads files in a separate process, which may die of them: C code aborts over a file that it was not made for.

``trials/process.py`` starts the process, sends it requests and reads its reports: one before each step, so that the
last one names the function in which it died, one for a function that has failed in the ordinary way, and one at the
end. A model that was loaded is also run once, since some files do harm only then. Nothing here is about a client.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Final, NoReturn

from rkllmd.abi import callbacks, library, rknn_library
from rkllmd.abi.c import (
    Array,
    CFunction,
    FunctionPointer,
    Reference,
    Struct,
    byref,
    c_char_p,
    c_uint64,
    c_void_p,
    cast,
    create_string_buffer,
    pointer,
    sizeof,
    this_process,
)
from rkllmd.abi.layouts.rkllm import LLMResultCallback
from rkllmd.abi.layouts.rkllm_common import RKLLMInferMode, RKLLMInputType, RKLLMLoraAdapter, RKLLMLoraParam
from rkllmd.abi.layouts.rknn import rknn_init_extend, rknn_input, rknn_input_output_num, rknn_tensor_attr
from rkllmd.abi.layouts.rknn_constants import rknn_query_cmd, rknn_tensor_type
from rkllmd.errors import RpcError
from rkllmd.json_types import Json, JsonObject
from rkllmd.portable import rknn as portable_rknn
from rkllmd.portable.rknn.models import arena
from rkllmd.portable.rknn.models.session import engine

Report = Callable[..., None]

_PR_SET_PDEATHSIG: Final = 1
_LINE_BUFFERED: Final = 1
# Long enough for a script that loads one model after the other; then the process ends, and its memory is free.
_IDLE_SECONDS: Final = 10.0
_MOST_MESSAGE_BYTES: Final = 65_536
_PROMPT: Final = b"a"
# A file that kills the process at its first token or frame does so soon; a run that takes longer has its own limits.
_TOKEN_SECONDS: Final = 10.0
_FRAME_SECONDS: Final = 2.0
# No larger inputs are made for a trial.
_MOST_INPUT_BYTES: Final = 2**28
# The number one in each type. Not 0, by which graphs of whole numbers may divide.
_ONES: Final = {
    "FLOAT32": b"\0\0\x80\x3f",
    "FLOAT16": b"\0\x3c",
    "BFLOAT16": b"\x80\x3f",
    "INT8": b"\1",
    "UINT8": b"\1",
    "BOOL": b"\1",
    "INT16": b"\1\0",
    "UINT16": b"\1\0",
    "INT32": b"\1\0\0\0",
    "UINT32": b"\1\0\0\0",
    "INT64": b"\1" + bytes(7),
}


class _FailedError(Exception):
    """A function has failed in the ordinary way, which was reported already."""


def main(parent: int) -> None:
    """Serve trials, one JSON message on stdin for each, until the daemon (``parent``) is gone or no more come."""
    _die_with(parent)
    # When the process dies, lines in C's buffer would be lost.
    libc = this_process()
    libc.setvbuf(c_void_p.in_dll(libc, "stdout"), None, _LINE_BUFFERED, 0)
    connection = socket.socket(fileno=0)
    while select.select([connection], [], [], _IDLE_SECONDS)[0]:
        message, fds, _, _ = socket.recv_fds(connection, _MOST_MESSAGE_BYTES, 1)
        if not message:
            break
        request = json.loads(message)
        if request["runtime"] == "rknn" and request["library"] is None:
            portable_rknn.functions()
            engine()
        child = os.fork()
        if child == 0:
            _try(request, fds, connection)
        for fd in fds:
            os.close(fd)
        _, status = os.waitpid(child, 0)
        connection.send(json.dumps({"ended": os.waitstatus_to_exitcode(status)}).encode())
    os._exit(0)


def _try(request: JsonObject, fds: list[int], connection: socket.socket) -> NoReturn:
    """Do what the request asks for, and exit without the exit handlers of C++ libraries."""

    def report(**what: Json) -> None:
        connection.send(json.dumps(what).encode())

    try:
        _die_with(os.getppid())
        _restrain(request)
        if fds:
            request["model_path"] = f"/proc/self/fd/{fds[0]}"
        # An error that the daemon will meet itself, and report in its own words, is not the runtime's death.
        with contextlib.suppress(_FailedError, RpcError):
            {"rkllm": _try_rkllm, "rknn": _try_rknn}[request["runtime"]](request, report)
        report(done=True)
        os._exit(0)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


def _die_with(parent: int) -> None:
    this_process().prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # the parent has died already
        os._exit(0)


def _restrain(request: JsonObject) -> None:
    """Let this process be the first to die when memory is short, and without a core file."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")
    for what, most in ((resource.RLIMIT_DATA, request["most_bytes"]), (resource.RLIMIT_CORE, 0)):
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(what, (most, most))


# -- language models -------------------------------------------------------------------------------------------------


def _try_rkllm(request: JsonObject, report: Report) -> None:
    runtime = library.load(request["library"], request["layout"], built_here=request["built_here"])
    structs = runtime.layout.structs
    param = structs["RKLLMParam"].from_buffer_copy(bytes.fromhex(request["param"]))
    param.model_path = os.fsencode(request["model_path"])
    param.max_new_tokens = 1
    param.is_async = False
    callback, kept = _callback(runtime.layout.name, structs, request, report)
    handle = c_void_p()
    report(step="rkllm_init")
    status = runtime.rkllm_init(byref(handle), byref(param), callback)
    _check(report, "rkllm_init", status if status or handle else -1)
    adapter, name = request["adapter"], None
    if adapter is not None:
        name = adapter["name"].encode()
        struct = RKLLMLoraAdapter(os.fsencode(adapter["path"]), name, adapter["scale"])
        report(step="rkllm_load_lora")
        _check(report, "rkllm_load_lora", runtime.rkllm_load_lora(handle, byref(struct)))
    cache = request["prompt_cache"]
    if cache is not None:
        report(step="rkllm_load_prompt_cache")
        status = runtime.rkllm_load_prompt_cache(handle, os.fsencode(cache))
        _check(report, "rkllm_load_prompt_cache", status)
    report(step="rkllm_run", seconds=_TOKEN_SECONDS)
    generated = _run(runtime, handle, param, RKLLMInferMode.RKLLM_INFER_GENERATE, name)
    if generated != 0:  # an embedding model can do only this
        _run(runtime, handle, param, RKLLMInferMode.RKLLM_INFER_GET_LAST_HIDDEN_LAYER, name)
    del kept


def _callback(
    layout: str, structs: Mapping[str, type[Struct]], request: JsonObject, report: Report
) -> tuple[FunctionPointer | Reference, list[object]]:
    """Return the last argument of rkllm_init, and the objects that have to live as long as the model."""
    on_result = LLMResultCallback(lambda _results, _userdata, _state: 0)
    if layout == "1.2":
        return on_result, [on_result]
    struct = structs["RKLLMCallback"]()
    struct.result_callback = on_result
    if request["tokenizer_path"] is not None:
        report(step="the tokenizer")
        struct.tokenizer_callback = callbacks.tokenizer_callback(request["tokenizer_path"], _log)
    if request["embedding_path"] is not None:
        report(step="the embedding file")
        struct.embed_callback = callbacks.embedding_callback(request["embedding_path"], _log)
    return byref(struct), [struct, on_result]


def _log(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _run(runtime: library.Library, handle: c_void_p, param: Struct, mode: int, lora: bytes | None) -> int:
    structs = runtime.layout.structs
    count = max(1, param.extend_param.n_batch)
    inputs = (structs["RKLLMInput"] * count)()
    for item in inputs:
        item.role, item.input_type, item.prompt_input = b"user", RKLLMInputType.RKLLM_INPUT_PROMPT, _PROMPT
    infer = structs["RKLLMInferParam"](mode=mode)
    if lora is not None:
        infer.lora_params = pointer(RKLLMLoraParam(lora_adapter_name=lora))
    return int(runtime.rkllm_run(handle, inputs, byref(infer), None))


# -- RKNN ------------------------------------------------------------------------------------------------------------


def _try_rknn(request: JsonObject, report: Report) -> None:
    path = request["library"]
    most = request.get("tensor_bytes")  # None: as many as it likes
    arena.bound_by(lambda: most)
    functions = portable_rknn.functions() if path is None else rknn_library.load(path, request["layout"]).functions
    extend = rknn_init_extend(real_model_offset=request["offset"], real_model_size=request["part"])
    context = c_uint64()
    given = c_char_p(os.fsencode(request["model_path"]))
    report(step="rknn_init")
    status = functions["rknn_init"](byref(context), cast(given, c_void_p), 0, 0, byref(extend))
    _check(report, "rknn_init", status)
    report(step="rknn_query", seconds=_FRAME_SECONDS)
    inputs = _inputs(functions, context)
    if inputs is None:
        return
    report(step="rknn_inputs_set")
    if functions["rknn_inputs_set"](context, len(inputs), inputs) == 0:
        report(step="rknn_run", seconds=_FRAME_SECONDS)
        functions["rknn_run"](context, None)


def _inputs(functions: Mapping[str, CFunction], context: c_uint64) -> Array[rknn_input] | None:
    """Return the inputs, all of them ones; None for a model for which no such inputs can be made."""
    count = rknn_input_output_num()
    query = functions["rknn_query"]
    number = rknn_query_cmd.RKNN_QUERY_IN_OUT_NUM
    if query(context, number, byref(count), sizeof(count)) != 0 or not count.n_input:
        return None
    inputs: Array[rknn_input] = (rknn_input * count.n_input)()
    total = 0
    for index in range(count.n_input):
        attr = rknn_tensor_attr(index=index)
        if query(context, rknn_query_cmd.RKNN_QUERY_INPUT_ATTR, byref(attr), sizeof(attr)) != 0:
            return None
        one = _ONES.get(rknn_tensor_type(attr.type).name.removeprefix("RKNN_TENSOR_"))
        total += attr.n_elems * len(one or b"")
        if one is None or total > _MOST_INPUT_BYTES:
            return None
        buffer = create_string_buffer(one * attr.n_elems, max(1, attr.n_elems * len(one)))
        inputs[index].index, inputs[index].type, inputs[index].fmt = index, attr.type, attr.fmt
        inputs[index].buf, inputs[index].size = cast(buffer, c_void_p), attr.n_elems * len(one)
    return inputs


def _check(report: Report, function: str, status: int) -> None:
    if status != 0:
        report(failed=function, status=status)
        raise _FailedError
