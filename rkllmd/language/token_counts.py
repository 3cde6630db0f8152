"""How many tokens a text has: what the portable runtime says, or else the model's own tokenizer (tokenizer.json).

That is the file which rkllm.init was given for C's tokenizer callback, or the one in the folder that the configuration
declares. It tells how many tokens a text has by itself, and those of a prompt only where the daemon renders the model's
own template: what a template inside C's runtime puts around a text is known to C alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from rkllmd.abi import tokenizer
from rkllmd.errors import NotSupported, RpcError, RuntimeFailure

if TYPE_CHECKING:
    from rkllmd.language.model import Model
    from rkllmd.language.runtime import Runtime
    from rkllmd.portable.extension import Counted

log = structlog.get_logger()

_FILE: Final = "tokenizer.json"
_NEEDS: Final = "the model's tokenizer.json, in the folder that its setting tokenizer names, or the portable runtime"
_NEEDS_TEMPLATE: Final = "the model's own chat template beside its tokenizer.json, to count messages"


def count(runtime: Runtime, model: Model, text: bytes, how: Counted) -> int:
    """Return how many tokens a text has; on the worker thread.

    Raises NotSupported where nothing tells, InvalidParams for a tokenizer that can't be read, RuntimeFailure.
    """
    if runtime.extension is not None:
        return _by_the_runtime(runtime, model, text, how)
    path = tokenizer_of(model)
    if path is None or not (how.bare or how.part):
        raise _not_known(runtime, path)
    try:
        return len(_read(runtime, model, path).ids(text.decode()))
    except ValueError as error:
        raise RuntimeFailure(f"{path}: {error}.", function="tokenizer", status=None, log=[]) from None


def known(runtime: Runtime, model: Model, text: bytes, how: Counted) -> int | None:
    """Return how many tokens a text has; None where nothing tells. On the worker thread."""
    if not _may_know(runtime, model):
        return None
    try:
        return count(runtime, model, text, how)
    except RpcError as error:
        log.debug("tokens_not_counted", handle=model.number, reason=error.message)
        return None


def check(runtime: Runtime, model: Model) -> None:
    """Raise NotSupported where no text's tokens can be counted."""
    if not _may_know(runtime, model):
        raise _not_known(runtime, None)


def _may_know(runtime: Runtime, model: Model) -> bool:
    return runtime.extension is not None or tokenizer_of(model) is not None


def tokenizer_of(model: Model) -> str | None:
    """Return the path of the model's tokenizer, if there is one."""
    given = model.callback_files[0]
    if given is not None:
        return given
    declared = None if model.tokenizer is None else Path(model.tokenizer, _FILE)
    return str(declared) if declared is not None and declared.is_file() else None


def _not_known(runtime: Runtime, path: str | None) -> NotSupported:
    needs = _NEEDS if path is None else _NEEDS_TEMPLATE
    return NotSupported(f"server.count_tokens needs {needs}.", runtime=runtime.library.runtime, needs=needs)


def _read(runtime: Runtime, model: Model, path: str) -> tokenizer.TokenizerFile:
    # The library lets no other thread run while it reads a file: the keeper has to know that it is no hang.
    with runtime.journal.calling("tokenizers.from_file", model):
        model.own_tokenizer = tokenizer.read(path, "tokenizer")
    return model.own_tokenizer


def _by_the_runtime(runtime: Runtime, model: Model, text: bytes, how: Counted) -> int:
    assert runtime.extension is not None
    mark = runtime.output.mark()
    with runtime.journal.calling("rkllm_portable_count_tokens", model):
        found = runtime.extension.count_tokens(model.pointer, text, how)
    lines = runtime.output.since(mark)
    if found < 0:
        raise runtime.failure("rkllm_portable_count_tokens", found, lines)
    return found
