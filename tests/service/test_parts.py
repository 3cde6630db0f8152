"""What the functions of each room work with, and what the handles of each kind stand for."""

from __future__ import annotations

from typing import Any

import pytest

from rkllmd.calls.declaration import Room
from rkllmd.config.settings import Config
from tests.service.services import assembled, method


@pytest.mark.parametrize("room", Room)
async def test_a_function_works_with_its_room(room: Room) -> None:
    async with assembled() as service:
        own: dict[Room, Any] = {Room.LANGUAGE: service.language, Room.VISION: service.vision, Room.SERVICE: service}
        assert service.own(method(room=room)) is own[room]


async def test_the_kinds_of_handles_are_kept_where_they_belong() -> None:
    async with assembled() as service:
        assert service.handles == {
            "llm": service.language.models,
            "context": service.vision.contexts,
            "matmul": service.vision.matmuls,
            "memory": service.vision.memories,
        }


async def test_a_reload_is_seen_by_all_parts_at_once() -> None:
    async with assembled() as service:
        fresh = Config(max_models=7)
        service.current.config = fresh
        assert service.config is service.language.config is service.vision.config is fresh
