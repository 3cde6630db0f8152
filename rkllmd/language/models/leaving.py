"""How many language models may be loaded at once, and which of them leave for one more."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rkllmd.npu.job import Arrival

if TYPE_CHECKING:
    from rkllmd.language.model import Model
    from rkllmd.language.parts import Language


def most(language: Language) -> int:
    """Return how many models may be loaded at once."""
    return language.config.max_models if language.runtime.takes_several_models else 1


def excess(language: Language, awake: list[Model]) -> int:
    """Return how many of the loaded models would have to leave for one more."""
    return max(0, len(awake) + 1 - most(language))


def for_one_more(language: Language) -> list[Model]:
    """Return the models that leave for one more: those that were unused for longest of all that are loaded."""
    awake = [model for model in language.models if not model.is_asleep]
    return sorted(awake, key=lambda model: model.used_at)[: excess(language, awake)]


def for_waking(language: Language, model: Model) -> Arrival:
    """Return which models leave if a call for this one begins now."""
    return Arrival(model, for_one_more(language) if model.is_asleep else None)


def given_back(language: Language, models: Iterable[Model]) -> int:
    """Return how many bytes of memory are given back at least when the models leave and another one is loaded."""
    leaving = sum(language.memory_guard.footprints.least(model.demand) for model in models if not model.is_asleep)
    return leaving + language.states.size_bytes
