"""The layouts of RKLLM, one after another."""

from __future__ import annotations

import pytest

from rkllmd.abi.layouts.rkllm import LAYOUTS, Layout


@pytest.fixture(params=LAYOUTS)
def layout(request: pytest.FixtureRequest) -> Layout:
    """Each layout."""
    return LAYOUTS[request.param]
