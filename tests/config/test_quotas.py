"""What one user may have of what there is a limited number of."""

from __future__ import annotations

import pytest

from rkllmd.config import quotas
from rkllmd.config.quotas import Exceeded
from rkllmd.config.settings import Config

FEW = quotas.quota("max_things", 10, 6, reserve=2)


@pytest.mark.parametrize(
    ("mine", "used", "more", "is_operator", "setting"),
    [
        (5, 7, 1, False, None),
        (6, 6, 1, False, "max_things_per_user"),
        (4, 6, 3, False, "max_things_per_user"),
        (0, 8, 1, False, "max_things"),
        (0, 6, 3, False, "max_things"),
        (6, 8, 1, True, None),
        (9, 9, 1, True, None),
        (0, 10, 1, True, "max_things"),
    ],
)
def test_who_finds_room(mine: int, used: int, more: int, is_operator: bool, setting: str | None) -> None:
    exceeded = FEW.exceeded(mine, used, is_operator=is_operator, more=more)
    assert (None if exceeded is None else exceeded.setting) == setting


def test_an_error_says_which_limit_how_much_is_used_and_whose() -> None:
    exceeded = FEW.exceeded(6, 9, is_operator=False)
    assert exceeded == Exceeded("max_things_per_user", 6, 6, "user")
    assert exceeded.data == {"setting": "max_things_per_user", "limit": 6, "used": 6, "whose": "user"}
    assert (exceeded.have, Exceeded("x", 1, 1, "all").have) == ("This user has", "All users together have")


def test_a_share_that_nobody_has_set_follows_from_the_total() -> None:
    config = Config(max_memory_bytes=1600, max_handles=16, max_handles_per_user=5)
    assert (quotas.memory(config).of_user, quotas.memory(config).of_others) == (1200, 1500)
    assert (quotas.handles(config).of_user, quotas.handles(config).of_others) == (5, 15)
    smallest = quotas.quota("max_things", 1, 0)
    assert (smallest.of_user, smallest.of_others) == (1, 1), "of one there is no share"


@pytest.mark.parametrize("quota", [quotas.connections, quotas.handles, quotas.memory])
def test_by_default_nobody_can_take_all_of_it(quota: object) -> None:
    assert callable(quota)
    found = quota(Config())
    assert 0 < found.of_user < found.of_others < found.total


def test_all_models_may_be_one_users_unless_the_configuration_says_otherwise() -> None:
    assert quotas.models(Config(max_models=2)).of_user == 2
    assert quotas.models(Config(max_models=2, max_models_per_user=1)).of_user == 1
