"""What the function modules share: strings that C takes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from rkllmd.abi.layouts.rkllm import LAYOUTS
from rkllmd.errors import InvalidParams
from rkllmd.rkllm._common import RUN_PARAMETERS, check_strings, text


def model(layout: str = "1.3") -> Any:
    return SimpleNamespace(library=SimpleNamespace(layout=LAYOUTS[layout]))


def test_a_string_may_be_left_out_or_null() -> None:
    value = text("prompt_prefix", "prefix")
    assert (value.required, value.schema["type"], value.aliases) == (False, ["string", "null"], ("prefix",))


def test_both_functions_that_run_take_the_same_with_what_only_c_has() -> None:
    assert [item.name for item in RUN_PARAMETERS] == [
        *("handle", "rkllm_input", "rkllm_infer_params", "userdata"),
        *("seed", "special", "stop", "bare", "suffix", "messages", "tools", "raw", "format", "tool_choice"),
        "logprobs",
    ]


@pytest.mark.parametrize(
    ("value", "keyword"), [("a\0b", "pattern"), ("<image>", None), ("a\n", ""), (None, ""), (5, "")]
)
def test_a_string_that_c_would_read_otherwise_is_refused(value: Any, keyword: str | None) -> None:
    if keyword == "":
        check_strings(model(), tools=value)
        return
    with pytest.raises(InvalidParams) as caught:
        check_strings(model(), system_prompt="fine", tools=value)
    assert caught.value.data["path"] == "$.tools"
    assert keyword is None or caught.value.data["keyword"] == keyword
