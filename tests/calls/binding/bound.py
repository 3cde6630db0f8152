"""What parameters become, and what is said of wrong ones."""

from __future__ import annotations

from typing import Any

import pytest

from rkllmd.calls import registry
from rkllmd.calls.binding.params import bind
from rkllmd.errors import InvalidParams

METHODS = registry.discover()
INPUT = {"prompt_input": "Hello"}
HOW = {"keep_history": 1}


def bound(name: str, params: Any) -> dict[str, tuple[Any, str]]:
    """Return what each parameter is given, and where it stood."""
    return {key: (item.value, item.path) for key, item in bind(METHODS[name], params).items()}


def refused(name: str, params: Any) -> InvalidParams:
    with pytest.raises(InvalidParams) as caught:
        bind(METHODS[name], params)
    return caught.value


def place(error: InvalidParams) -> tuple[Any, Any]:
    return error.data.get("path"), error.data.get("keyword")
