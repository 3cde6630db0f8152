"""What C is given of a model, and what stays alive because C may still read it."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from rkllmd.errors import RuntimeFailure
from rkllmd.language.models import native


def test_strings_that_the_runtime_refuses_again_and_again_do_not_pile_up() -> None:
    def refuse(function: str, *_: Any, **__: Any) -> None:
        raise RuntimeFailure("It failed.", function=function, status=-1, log=[])

    takes: Any = SimpleNamespace(call=lambda *_, **__: None)
    refuses: Any = SimpleNamespace(call=refuse)
    model: Any = SimpleNamespace(pointer=None, keep_alive=[], strings={}, refused_strings={})
    given = [bytes([number]) * 1000 for number in range(4)]

    def references() -> list[int]:
        return [sys.getrefcount(text) for text in given]

    def kept() -> list[bool]:
        return [now > before for now, before in zip(references(), alone, strict=True)]

    alone = references()
    native.give_strings(takes, model, "rkllm_set_function_tools", given[:1])
    for index in (1, 2, 3):
        with pytest.raises(RuntimeFailure):
            native.give_strings(refuses, model, "rkllm_set_function_tools", given[index : index + 1])
    assert kept() == [True, False, False, True], "those of the last success and of the last call may be C's"
    native.give_strings(takes, model, "rkllm_set_function_tools", [b"more"])
    assert not any(kept())
