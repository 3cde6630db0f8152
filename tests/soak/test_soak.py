"""A soak of some seconds: the same clients, faults and crashes as in ``make soak``, and nothing is left behind."""

from __future__ import annotations

from pathlib import Path
from typing import Final
from unittest.mock import Mock

import pytest

from tests.soak.guest import must_own_the_words
from tests.soak.soak import soak
from tests.soak.visits import upkeep, vision
from tests.wire_connection import kind

_SET_ASIDE: Final = {"error": {"data": {"kind": "Quarantined"}}}


def test_a_short_soak_with_crashes_answers_everybody(tmp_path: Path) -> None:
    outcome = soak(tmp_path, 6.0, crashes=2)
    assert outcome.failures == []
    assert outcome.counts["crashes"] >= 1
    assert outcome.counts["requests"] > 0
    assert outcome.counts["tokens"] > 0
    # Whether anything grows is not for seconds on a busy machine to say: test_analysis.py and test_report.py do.
    assert outcome.samples


def test_a_model_that_was_set_aside_is_loaded_again() -> None:
    """Or three crashes within ten minutes leave the rest of a soak without it."""
    guest = Mock()
    guest.ask = lambda _, params: {"result": {"context": 7}} if params.get("force") else _SET_ASIDE
    visit = Mock()
    assert vision.load_context(visit, guest) == 7
    assert kind(upkeep.load(guest, "rkllm.init", {"model_path": "model.rkllm"})) is None


def test_another_clients_words_are_seen() -> None:
    must_own_the_words("[user] [m1.2]", "[m1.2]", is_whole=True)
    must_own_the_words("[user] [mroom~1.2] [mroom~4.1]", "[mroom~4.1]", is_whole=True)
    must_own_the_words("[us", "[m1.2]", is_whole=False)
    for text, mark in (("[user] [m1.2][m3.4]", "[m1.2]"), ("[mroom~1.1][mhall~2.2]", "[mroom~1.1]")):
        with pytest.raises(AssertionError, match="somebody else's words"):
            must_own_the_words(text, mark, is_whole=True)
    with pytest.raises(AssertionError, match="its own words are not in"):
        must_own_the_words("[user] ", "[m1.2]", is_whole=True)
