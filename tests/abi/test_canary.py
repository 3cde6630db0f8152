"""The canary: a library whose defaults do not have the layout that its version has is refused."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path

import pytest

from rkllmd.abi import canary
from rkllmd.abi.library import load
from rkllmd.errors import RuntimeUnavailable

Build = Callable[..., Path]


@pytest.mark.parametrize(("layout", "version"), [("1.2", "1.3.0"), ("1.3", "1.2.3")])
def test_a_library_that_lies_about_its_version(tiny: Build, layout: str, version: str) -> None:
    with pytest.raises(RuntimeUnavailable, match="does not have the struct layout") as caught:
        load(tiny(layout, version))
    assert f"{layout} better" in caught.value.message


@pytest.mark.parametrize("layout", ["1.2", "1.3", "1.3.1"])
@pytest.mark.parametrize(
    ("defaults", "complaint"),
    [
        ("param.top_p = 0;", "top_p is 0"),
        ("param.top_p = 2;", "top_p is 2"),
        ("param.temperature = 0.0f / 0;", "temperature is"),
        ("param.repeat_penalty = 1e30f;", "repeat_penalty is 1e[+]30"),
        ("param.max_context_len = -77;", "max_context_len is -77"),
        ("param.extend_param.n_batch = 200;", "n_batch is 200"),
        ("param.model_path = (char *)8;", "model_path points nowhere"),
        ("*(char *)&param.skip_special_token = 64;", "skip_special_token is 64"),
        ("memset(&param, 0, sizeof param);", "top_p is 0; repeat_penalty is 0"),
    ],
)
def test_insane_defaults(tiny: Build, layout: str, defaults: str, complaint: str) -> None:
    with pytest.raises(RuntimeUnavailable, match=complaint):
        load(tiny(layout, {"1.2": "1.2.1", "1.3": "1.3.0", "1.3.1": "1.3.1"}[layout], defaults=defaults))


@pytest.mark.parametrize(("layout", "version"), [("1.2", "1.2.1"), ("1.3", "1.3.0"), ("1.3.1", "1.3.1")])
def test_defaults_that_tell_nothing_about_the_layout_are_believed(tiny: Build, layout: str, version: str) -> None:
    """A runtime may leave CPUs and tags zero; then the version string alone decides."""
    quiet = "memset((char *)&param + 60, 0, sizeof param - 60);"
    assert load(tiny(layout, version, defaults=quiet)).layout.name == layout


def test_a_pointer_into_memory_that_cannot_be_read() -> None:
    page = ctypes.CDLL(None).mmap
    page.restype = ctypes.c_void_p
    page.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    address = page(None, 4096, 0, 0x22, -1, 0)  # PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS
    assert not canary._is_readable(address)
    assert canary._is_readable(None)
    assert canary._is_readable(ctypes.addressof(ctypes.c_int()))
