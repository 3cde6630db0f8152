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


@pytest.mark.parametrize(
    ("configured", "total", "bound"),
    [
        (0, 2**40, 2**29),
        (0, 2**30, 2**28),
        (0, 0, 2**29),  # a machine that does not say
        (2**29, 2**30, 2**29),  # what somebody has set counts, also where it is the usual value
        (2**35, 2**30, 2**35),
    ],
)
async def test_how_much_requests_may_take(
    monkeypatch: pytest.MonkeyPatch, configured: int, total: int, bound: int
) -> None:
    memory = {"total_bytes": total, "available_bytes": total, "daemon_resident_bytes": 0}
    async with assembled() as service:
        monkeypatch.setattr(service.platform, "memory", lambda: memory)
        service.current.config = Config(request_memory_bytes=configured)
        assert service.budget.bounds.most_bytes == bound
