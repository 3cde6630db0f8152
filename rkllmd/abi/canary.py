"""Prove a struct layout before anything is trusted to it.

``rkllm_createDefaultParam`` needs no model and no NPU. It is called with a result far bigger than any known RKLLMParam;
its bytes must make sense in the layout that the version string promised, and no more sense in another one. The first 56
bytes are the same in all layouts. What tells 1.2 from the others are the bytes behind them: three pointers in 1.2, the
start of RKLLMExtendParam in 1.3 and 1.3.1. Those two have the same RKLLMParam, so between them the version alone
decides.

An oversized result is safe: on x86-64 and on ARM, a struct of more than 16 bytes is returned through a pointer that the
caller passes, and the callee writes only as much as its own struct has. The bytes behind that mean nothing, since
ctypes does not clear them.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterator
from pathlib import Path

from rkllmd.abi.c_types import FunctionPointer
from rkllmd.abi.layouts.rkllm import LAYOUTS, Layout
from rkllmd.errors import RuntimeUnavailable

RESULT_SIZE = 1024
"""How many bytes are given to the result; the largest RKLLMParam that was ever released has 208."""

# What a default may be. The ranges are generous: one that is too narrow would refuse a good runtime on somebody's
# board, while another layout's bytes are off by orders of magnitude (a pointer read as two integers, an integer as a
# float).
_FLOATS = {
    "top_p": (0.0, 1.0),
    "temperature": (0.0, 5.0),
    "repeat_penalty": (0.0, 5.0),
    "frequency_penalty": (-10.0, 10.0),
    "presence_penalty": (-10.0, 10.0),
    "mirostat_tau": (0.0, 100.0),
    "mirostat_eta": (0.0, 100.0),
}
_NOT_ZERO = ("top_p", "repeat_penalty")  # a buffer of zeros must not pass
_INTEGERS = {
    "max_context_len": (-1, 1 << 24),
    "max_new_tokens": (-1, 1 << 24),
    "top_k": (-1, 1 << 24),
    "n_keep": (-1, 1 << 24),
    "mirostat": (0, 2),
}
_EXTEND_INTEGERS = {
    "base_domain_id": (-1, 64),
    "embed_flash": (0, 1),
    "enabled_cpus_num": (-1, 64),
    "enabled_cpus_mask": (0, 0xFFFF),
    "n_batch": (0, 128),
    "use_cross_attn": (0, 1),
}


def prove(layout: Layout, create_default_param: FunctionPointer, found: str) -> None:
    """Raise RuntimeUnavailable unless the default parameters make sense in ``layout``, and no more sense in another.

    ``create_default_param`` is the bare ctypes function; its restype is changed. ``found`` names the library.
    """
    raw = _default_param(create_default_param)
    wrong = list(complaints(layout, raw))
    better = [other.name for other in LAYOUTS.values() if other is not layout and _fits_better(other, layout, raw)]
    if not wrong and not better:
        return
    why = f"its default parameters read wrong ({'; '.join(wrong[:3])})" if wrong else "they read right"
    elsewhere = f", and they fit layout {better[0]} better" if better else ""
    raise RuntimeUnavailable(
        f"{found} does not have the struct layout {layout.name}: {why}{elsewhere}. Nothing was run with it.",
        searched=[],
        found=found,
        fix="Install the runtime anew from its vendor; the file's version string and its code do not belong together.",
    )


def complaints(layout: Layout, raw: bytes) -> Iterator[str]:
    """Yield what is implausible about the default RKLLMParam that ``raw`` is in ``layout``; nothing if it is sane."""
    param_type = layout["RKLLMParam"]
    param = param_type.from_buffer_copy(raw)
    for name, (low, high) in _FLOATS.items():
        value = getattr(param, name)
        if not (math.isfinite(value) and low <= value <= high) or (value == 0 and name in _NOT_ZERO):
            yield f"{name} is {value:g}"
    for name, (low, high) in _INTEGERS.items():
        if not low <= getattr(param, name) <= high:
            yield f"{name} is {getattr(param, name)}"
    for name, (low, high) in _EXTEND_INTEGERS.items():
        if not low <= getattr(param.extend_param, name) <= high:
            yield f"extend_param.{name} is {getattr(param.extend_param, name)}"
    for name, field_type, *_ in param_type._fields_:
        offset = getattr(param_type, name).offset
        if field_type is ctypes.c_bool and raw[offset] > 1:
            yield f"{name} is {raw[offset]}"
        # Reading a c_char_p field would follow the pointer: look at its bits first.
        elif field_type is ctypes.c_char_p and not _is_readable(ctypes.c_void_p.from_buffer_copy(raw, offset).value):
            yield f"{name} points nowhere"


def _default_param(create_default_param: FunctionPointer) -> bytes:
    class _Oversized(ctypes.Structure):
        _fields_ = [("raw", ctypes.c_uint8 * RESULT_SIZE)]

    create_default_param.argtypes = []
    create_default_param.restype = _Oversized
    return bytes(create_default_param().raw)


def _fits_better(other: Layout, chosen: Layout, raw: bytes) -> bool:
    """Return whether ``other`` shows the default CPUs, as many as their mask has bits, and ``chosen`` does not."""
    return _names_cpus(other, raw) and not any(complaints(other, raw)) and not _names_cpus(chosen, raw)


def _names_cpus(layout: Layout, raw: bytes) -> bool:
    extend = layout["RKLLMParam"].from_buffer_copy(raw).extend_param
    mask: int = extend.enabled_cpus_mask
    return 0 < mask <= 0xFF and extend.enabled_cpus_num == mask.bit_count()


def _is_readable(address: int | None) -> bool:
    """Return whether ``address`` is NULL or lies in a readable mapping of this process."""
    if not address:
        return True
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, permissions, *_ = line.split()
        start, end = (int(part, 16) for part in span.split("-"))
        if start <= address < end:
            return permissions.startswith("r")
    return False
