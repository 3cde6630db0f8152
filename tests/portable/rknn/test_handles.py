"""The numbers that stand for contexts: never 0, never given again, never mistaken for one another."""

from __future__ import annotations

import pytest

from rkllmd.abi.layouts.rknn_constants import rknn_error
from rkllmd.portable.rknn import handles
from rkllmd.portable.rknn.errors import RknnError


class _One:
    pass


class _Other:
    pass


def test_a_handle_is_found_by_its_kind_until_it_is_removed() -> None:
    made = _One()
    handle = handles.add(made)
    assert handles.find(handle, _One) is made
    with pytest.raises(RknnError, match=f"there is no context {handle:#x}") as caught:
        handles.find(handle, _Other)
    assert caught.value.code is rknn_error.RKNN_ERR_CTX_INVALID
    with pytest.raises(RknnError):
        handles.remove(handle, _Other)
    assert handles.remove(handle, _One) is made
    with pytest.raises(RknnError):
        handles.remove(handle, _One)


def test_handles_are_numbers_of_64_bits_that_are_never_given_again() -> None:
    given = []
    for _ in range(1000):
        given.append(handles.add(_One()))
        handles.remove(given[-1], _One)
    assert len({*given}) == 1000
    assert all(0 < handle < 2**64 for handle in given)
    assert not any(number in given for number in range(1000)), "none looks like an index"
