"""What counts as growth: a leak fails however noisy, noise and spikes alone do not."""

from __future__ import annotations

import random

import pytest

from tests.soak.analysis import LEAST_SAMPLES, Limit, trend

HOUR = [10.0 * number for number in range(361)]
MEGABYTES = Limit(4.0, "for the test", per_hour=4.0)


def noisy(seed: int, per_hour: float = 0.0, noise: float = 3.0) -> list[float]:
    """Return a series around 100 that grows by this much in an hour."""
    choice = random.Random(seed)
    return [100 + per_hour * time / 3600 + choice.gauss(0, noise) for time in HOUR]


@pytest.mark.parametrize("seed", range(10))
def test_a_noisy_flat_series_passes(seed: int) -> None:
    assert not trend("memory", HOUR, noisy(seed), MEGABYTES).leaks


@pytest.mark.parametrize("seed", range(10))
def test_a_leak_fails_beneath_the_same_noise(seed: int) -> None:
    found = trend("memory", HOUR, noisy(seed, per_hour=7.0), MEGABYTES)
    assert found.leaks
    assert found.growth == pytest.approx(7.0, abs=2.0)


def test_growth_that_is_allowed_passes() -> None:
    assert not trend("memory", HOUR, noisy(0, per_hour=3.9, noise=0.1), MEGABYTES).leaks


def test_spikes_are_no_growth() -> None:
    spikes = [value + (500 if number % 5 == 4 else 0) for number, value in enumerate(noisy(1))]
    assert not trend("latency", HOUR, spikes, MEGABYTES).leaks


def test_a_staircase_is_growth() -> None:
    stairs = [float(number // 60) * 2 for number in range(len(HOUR))]
    assert trend("descriptors", HOUR, stairs, MEGABYTES).leaks


def test_what_falls_is_no_growth() -> None:
    assert not trend("memory", HOUR, noisy(2, per_hour=-50.0), MEGABYTES).leaks


def test_the_limit_is_the_largest_of_its_three() -> None:
    limit = Limit(4.0, "for the test", per_hour=10.0, share=0.5)
    assert [limit.allowed(0.01, 1), limit.allowed(2, 1), limit.allowed(2, 100)] == [4.0, 20.0, 50.0]


def test_too_few_samples_say_nothing() -> None:
    few = LEAST_SAMPLES - 1
    with pytest.raises(ValueError, match=f"memory: {few} samples"):
        trend("memory", HOUR[:few], [1.0] * few, MEGABYTES)
