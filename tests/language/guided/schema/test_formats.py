"""Formats of strings: dates are days that there are, in letters that everybody reads."""

from __future__ import annotations

import re
from datetime import date

import pytest

from rkllmd.language.guided.schema.formats import PATTERNS, with_patterns


@pytest.mark.parametrize(
    ("name", "text", "fits"),
    [
        ("date", "2026-11-28", True),
        ("date", "2026-02-30", False),
        ("date", "2026-04-31", False),
        ("date", "0000-01-01", False),
        ("time", "23:59:59Z", True),
        ("time", "23:59:60Z", False),
        ("date-time", "2026-11-28T01:02:03.5+01:00", True),
        ("date-time", "2026-11-28t01:02:03z", False),
    ],
)
def test_what_fits(name: str, text: str, fits: bool) -> None:
    assert bool(re.search(PATTERNS[name], text)) == fits


def test_every_date_is_one() -> None:
    days = [f"2027-{month:02}-{day:02}" for month in range(1, 13) for day in range(1, 32)]
    for day in filter(lambda day: re.search(PATTERNS["date"], day), days):
        date.fromisoformat(day)


def test_a_pattern_beside_a_format_stays() -> None:
    schema = {"format": "date", "pattern": "7$"}
    with_patterns(schema)
    assert schema == {"pattern": "7$", "allOf": [{"pattern": PATTERNS["date"]}]}
    hostname = {"format": "hostname", "maxLength": 10}
    with_patterns(hostname)
    assert hostname == {"format": "hostname", "maxLength": 10}
