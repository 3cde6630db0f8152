"""What the functions of each part work with, and what the handles of each type stand for."""

from __future__ import annotations

from typing import Any

import pytest

from rkllmd.calls.declaration import Part
from rkllmd.config.settings import Config
from tests.service.services import assembled, method


@pytest.mark.parametrize("part", Part)
async def test_a_function_works_with_its_part(part: Part) -> None:
    async with assembled() as service:
        own: dict[Part, Any] = {Part.LANGUAGE: service.language, Part.VISION: service.vision, Part.SERVICE: service}
        assert service.own(method(part=part)) is own[part]


async def test_the_types_of_handles_are_kept_where_they_belong() -> None:
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
