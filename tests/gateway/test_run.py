"""What all protocols hold of a run."""

from __future__ import annotations

import pytest

from rkllmd.gateway.failures import Failure
from rkllmd.gateway.run import check_ended


def test_an_answer_that_somebody_else_has_ended_is_no_answer() -> None:
    assert check_ended({"finish_reason": "stop"}) == {"finish_reason": "stop"}
    for reason in ("abort", "pause"):
        with pytest.raises(Failure, match="somebody else"):
            check_ended({"finish_reason": reason})
