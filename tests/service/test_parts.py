"""What the functions of each part work with, and what the handles of each type stand for."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rkllmd.calls.declaration import Part
from rkllmd.config.settings import Config
from tests.service.services import assembled, loaded, method


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


async def test_what_would_go_with_a_client_are_its_objects_and_its_conversation(tmp_path: Path) -> None:
    async with assembled() as service:
        model = service.language.models.get(await loaded(service, tmp_path))
        mine, others = 7, 8
        assert not service.belongs_anything_to(mine)
        model.kv_cache.take_turn(mine, keep_history=False)
        assert not service.belongs_anything_to(mine), "a run that has ended, and nothing to go on with"
        model.kv_cache.take_turn(mine, keep_history=True)
        assert service.belongs_anything_to(mine)
        assert not service.belongs_anything_to(others)
        model.kv_cache.clear()
        number = service.vision.memories.add(SimpleNamespace(), owner=others)  # type: ignore[arg-type]  # it is only counted
        assert (service.belongs_anything_to(mine), service.belongs_anything_to(others)) == (False, True)
        service.vision.memories.remove(number)
