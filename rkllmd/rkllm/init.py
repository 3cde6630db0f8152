"""rkllm_init: load a language model; it stays loaded until rkllm.destroy, whoever disconnects.

C: int rkllm_init(LLMHandle *handle, RKLLMParam *param, RKLLMCallback *callback)

Up to runtime 1.2.3 the last argument is the result callback itself. Beside the fields of RKLLMParam, two members of
the daemon's own set the other callbacks of 1.3: ``tokenizer_path`` (a tokenizer.json, for a model converted without
its tokenizer) and ``embedding_path`` (rows of float32, for a model without its embedding layer).
"""

from __future__ import annotations

import os
from ctypes import byref
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from rkllmd import memory, paths, soc
from rkllmd.abi import callbacks
from rkllmd.abi.rkllm import LLMResultCallback
from rkllmd.context import Context, Invocation
from rkllmd.errors import Cancelled, ModelAlreadyLoaded, NotSupported, RuntimeFailure
from rkllmd.fingerprint import identify
from rkllmd.handles import Model
from rkllmd.inference import destroy_model
from rkllmd.method import COnly, Kind, Struct, method
from rkllmd.rkllm._common import LLM

if TYPE_CHECKING:
    from rkllmd.dispatch import Converted

log = structlog.get_logger()

_CALLBACK_PATHS = ("tokenizer_path", "embedding_path")


def _check(invocation: Invocation, param: Converted) -> None:
    context = invocation.context
    allowed = context.config.allowed_directories
    for name in ("model_path", *_CALLBACK_PATHS):
        if param.json.get(name) is not None:
            resolved = paths.readable_file(param.json[name], allowed, f"{param.path}.{name}")
            param.json[name] = str(resolved)  # a link that is changed from now on leads nowhere else
    param.c.model_path = os.fsencode(param.json["model_path"])
    _refuse_batches_of_unknown_size(invocation, param)
    if not context.npu.queue.changes(LLM.kinds):  # else it is decided when those before it are done
        _refuse_more_than_allowed(context)
        memory.check(context, param.json["model_path"], Path(param.json["model_path"]).stat().st_size)


def _refuse_batches_of_unknown_size(invocation: Invocation, param: Converted) -> None:
    """Refuse n_batch > 1 where the size of an RKLLMInput is not proven, since C then walks an array of them.

    Runtime 1.3.1 is said to append a struct to RKLLMMultiModalInput. A single input stays right, there are zeros
    behind it; the second one of an array would be read from the wrong place.
    """
    library = invocation.runtime.library
    if param.c.extend_param.n_batch > 1 and library.layout.name == "1.3" and library.version != "1.3.0":
        raise NotSupported(
            f"n_batch above 1 is not proven with runtime {library.version}: its RKLLMInput may be larger.",
            runtime=library.runtime,
            needs="1.3.0, or 1.2.1 to 1.2.3",
        )


def _refuse_more_than_allowed(context: Context) -> None:
    if len(context.models) >= context.config.max_models:
        raise ModelAlreadyLoaded(
            f"{len(context.models)} model(s) may be loaded at once (max_models): call rkllm.destroy first.",
            loaded=[{"handle": model.number, "model_path": model.path} for model in context.models],
        )


@method(
    Kind.NPU,
    [COnly("handle"), Struct("param", "RKLLMParam", required_fields=["model_path"]), COnly("callback")],
    check=_check,
    changes=LLM.kinds,
)
def init(invocation: Invocation, param: Converted) -> dict[str, Any]:
    """Load the model; return its handle."""
    context, runtime = invocation.context, invocation.runtime
    _refuse_more_than_allowed(context)  # again: another load may have ended while this one waited
    c_param = param.c
    soc.apply_defaults(context, param.json, c_param)
    path = param.json["model_path"]
    size_bytes = Path(path).stat().st_size
    memory.check(context, path, size_bytes)  # again, as others have
    available = context.platform.memory()["available_bytes"]
    model = Model(
        library=runtime.library,
        path=path,
        size_bytes=size_bytes,
        n_batch=max(1, c_param.extend_param.n_batch),
        max_new_tokens=c_param.max_new_tokens,
        max_context_len=c_param.max_context_len,
        is_async=bool(c_param.is_async),
        param=c_param,
        keep_alive=[param.keep],
        file=identify(path),
    )

    def on_result(results: Any, _userdata: Any, state: int) -> int:
        generation = model.generation
        return 0 if generation is None else generation.on_result(results, state)

    callback = LLMResultCallback(on_result)
    model.keep_alive.append(callback)
    argument = callback if runtime.library.layout.name == "1.2" else byref(_callbacks(invocation, model, param))
    status, lines = runtime.invoke("rkllm_init", byref(model.pointer), byref(c_param), argument)
    if status == 0 and not model.pointer:
        status = -1  # some versions answer 0 for a load that failed and leave the handle empty
    if status != 0:
        said = f": {lines[-1]}" if lines else "; the runtime said nothing about why."
        raise RuntimeFailure(f"rkllm_init failed{said}", function="rkllm_init", status=status, log=lines)
    if invocation.is_cancelled:  # before anybody can find the model
        destroy_model(context, model)
        raise Cancelled("The load was cancelled; the model was unloaded again.")
    model.number = context.models.add(model)
    context.footprints.learn(path, size_bytes, available - context.platform.memory()["available_bytes"])
    log.info("model_loaded", handle=model.number, model_path=path, bytes=model.size_bytes)
    return {"success": True, "status": 0, "handle": model.number}


def _callbacks(invocation: Invocation, model: Model, param: Converted) -> Any:
    """Return the RKLLMCallback of layout 1.3; it lives as long as the model."""
    struct = invocation.runtime.library.layout.structs["RKLLMCallback"]()
    struct.result_callback = model.keep_alive[-1]
    tokenizer_path, embedding_path = (param.json.get(name) for name in _CALLBACK_PATHS)
    if tokenizer_path is not None:
        struct.tokenizer_callback = callbacks.tokenizer_callback(tokenizer_path, _report)
    if embedding_path is not None:
        struct.embed_callback = callbacks.embedding_callback(embedding_path, _report)
    model.keep_alive.append(struct)
    return struct


def _report(what: str) -> None:
    log.error("runtime_callback_failed", reason=what)
