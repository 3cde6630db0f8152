"""Which samples count, and that a leak in one of them is found and said."""

from __future__ import annotations

import io
import math
import random
from dataclasses import replace

from tests.soak import report
from tests.soak.sampler import LIMITS, Sample

CALM = Sample(0, 0, 60, 50, 40, 30, 5, 12, 6, 4, 11, 6, 2, 10, 1, 0, 1, 3, 40, 90)


def hour(daemon_leak: float = 0.0, keeper_leak: float = 0.0, crashes_until: int = 60) -> list[Sample]:
    """Return an hour's samples; the daemon crashes often in the first ``crashes_until`` of 180."""
    choice = random.Random(1)
    samples: list[Sample] = []
    since_crash = 0
    for number in range(180):
        crashes = min(number, crashes_until) // 10
        since_crash = 0 if samples and samples[-1].crashes != crashes else since_crash + 1
        noise = choice.gauss(0, 0.05)
        samples.append(
            replace(
                CALM,
                seconds=20.0 * number,
                crashes=crashes,
                daemon_private_mib=40 + noise + daemon_leak * since_crash / 180,
                keeper_private_mib=4 + keeper_leak * number / 180,
            )
        )
    return samples


def growing(samples: list[Sample]) -> list[str]:
    return [item.name for item in report.trends(samples) if item.leaks]


def test_an_hour_in_which_nothing_grows_is_good() -> None:
    found = report.trends(hour())
    assert [item.name for item in found] == list(LIMITS)
    assert not any(item.leaks for item in found)


def test_a_leak_of_the_daemon_since_its_last_crash_is_found() -> None:
    assert growing(hour(daemon_leak=10)) == ["daemon_private_mib"]
    assert "GROWS" in report.table(report.trends(hour(daemon_leak=10)))


def test_a_leak_of_the_keeper_is_found_though_the_daemon_crashes_to_the_end() -> None:
    samples = hour(keeper_leak=2, crashes_until=175)
    assert growing(samples) == ["keeper_private_mib"]
    assert {item.name for item in report.trends(samples)} == {"keeper_private_mib", "keeper_descriptors"}


def test_the_time_after_a_start_does_not_count() -> None:
    samples = hour()
    counted = report.judged(samples, "daemon_private_mib")
    assert {item.crashes for item in counted} == {6}
    since_crash = [item for item in samples if item.crashes == 6]
    assert 0.7 < len(counted) / len(since_crash) < 0.8


def test_a_sample_in_which_nobody_was_answered_does_not_count() -> None:
    samples = [replace(item, instant_p50_ms=math.nan) if number % 2 else item for number, item in enumerate(hour())]
    assert len(report.judged(samples, "instant_p50_ms")) < len(report.judged(samples, "instant_p99_ms"))
    assert growing(samples) == []


def test_the_samples_are_written_with_their_names() -> None:
    file = io.StringIO()
    report.write(hour()[:2], file)
    header, first, _ = file.getvalue().splitlines()
    assert header.startswith("seconds,crashes,daemon_rss_mib,")
    assert first.startswith("0.0,0,60,50,")
