"""Whether there is a place for one more language model, and which others leave for it; decided before C is called.

There is one model at a time unless the configuration allows more. Several need a runtime that is made for it (1.2.2 or
later), and each needs a memory domain of the NPU of its own (``base_domain_id``): the driver has 16 domains of 4 GB.
"""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, Final

from rkllmd.calls import authority
from rkllmd.config import quotas
from rkllmd.errors import InvalidHandle, InvalidParams, ModelAlreadyLoaded, NotSupported
from rkllmd.json_types import JsonObject
from rkllmd.language.models import leaving
from rkllmd.language.models.loading import check_cores
from rkllmd.machine.files import identify
from rkllmd.npu.job import Arrival
from rkllmd.quick_dataclass import dataclass

if TYPE_CHECKING:
    from rkllmd.language.model import Model
    from rkllmd.language.models.recipe import Recipe
    from rkllmd.language.parts import Language

# RKNPU_MAX_IOMMU_DOMAIN_NUM of the NPU's driver 0.9.8.
_DOMAINS: Final = range(16)
_NEEDS: Final = "1.2.2 or later"


@dataclass(frozen=True, eq=False, slots=True)
class Place:
    """What a new model takes: the models that it replaces, the sleeping ones whose place it needs, and its domain.

    ``displaced``: those that sleep from then on, since a model that may be swapped in takes the place of others.
    """

    replaced: list[Model]
    forgotten: list[Model]
    domain: int
    displaced: list[Model] = field(default_factory=list)


def loaded_already(language: Language, recipe: Recipe, replace: bool | int) -> Model | None:
    """Return the very model that the recipe describes, if it is loaded and there is no place for another one.

    Two clients that begin with the same rkllm.init then share the model. A file that was written to since its load
    counts as another model. One that may be swapped in is never loaded twice: it is returned also if it sleeps. Raises
    InvalidParams for a number of NPU cores that is not the file's.
    """
    for same in _alike(language, recipe, replace):
        if same.is_asleep or _is_unchanged(same):
            check_cores(same, recipe)
            return same
    return None


def arrival(language: Language, recipe: Recipe, replace: bool | int) -> Arrival:
    """Return which models leave for a load if it begins now.

    Whether it is refused then is not asked, nor whether the file has changed: to read it takes long.
    """
    alike = _alike(language, recipe, replace)
    if alike:
        return leaving.for_waking(language, alike[0])
    try:
        leaves = _leaving(language, recipe, replace)
    except InvalidHandle:
        leaves = []
    return Arrival(recipe.path, [model for model in leaves if not model.is_asleep])


def _alike(language: Language, recipe: Recipe, replace: bool | int) -> list[Model]:
    """Return the models that the load means, if their files are still the same; none if it is one of its own."""
    awake = [model for model in language.models if not model.is_asleep]
    if replace or not (recipe.swap or leaving.excess(language, awake)):
        return []
    return [
        model
        for model in (language.models if recipe.swap else awake)
        if model.path == recipe.path and model.sameness == recipe.sameness and recipe.domain in (None, model.domain)
    ]


def _is_unchanged(model: Model) -> bool:
    try:
        return model.file == identify(model.path)
    except OSError:
        return False


def find(language: Language, recipe: Recipe, replace: bool | int, user: int | None) -> Place:
    """Return the place for a load by a user (None: by the daemon itself).

    ``replace``: whether all loaded models leave for it, or the handle of the one that does; what second_init =
    "replace" replaces, the operator has given to everybody. Raises InvalidHandle, ModelAlreadyLoaded, NotSupported,
    InvalidParams, OutOfMemory, PermissionDenied.
    """
    leaves = _leaving(language, recipe, replace)
    replaced, displaced = ([], leaves) if recipe.swap and not replace else (leaves, [])
    for model in replaced if replace else ():
        authority.check(language.config, user, model.user, "Language model", model.number)
    others = [model for model in language.models if model not in replaced]
    awake = [model for model in others if not model.is_asleep and model not in displaced]
    _refuse_more_than_allowed(language, awake)
    _refuse_more_than_share(language, awake, user)
    forgotten = [] if recipe.swap else _forgotten(language, [model for model in others if not model.swap])
    domain = _domain(recipe, {model.domain for model in others if model not in forgotten}, {m.domain for m in awake})
    language.memory_guard.check(recipe.demand, leaving.given_back(language, [*replaced, *displaced]))
    return Place(replaced, forgotten, domain, displaced)


def _forgotten(language: Language, models: list[Model]) -> list[Model]:
    """Return the sleeping ones of these models that have no place beside one more."""
    asleep = sorted((model for model in models if model.is_asleep), key=lambda model: model.used_at)
    return asleep[: leaving.excess(language, models)]


def _leaving(language: Language, recipe: Recipe, replace: bool | int) -> list[Model]:
    """Return the models that leave for that of the recipe. Raises InvalidHandle."""
    if replace is True:
        return list(language.models)
    if replace:
        return [language.models.get(replace)]
    if recipe.swap or language.config.second_init != "refuse":
        return leaving.for_one_more(language)
    return []


def _refuse_more_than_allowed(language: Language, awake: list[Model]) -> None:
    if len(awake) >= language.config.max_models:
        raise ModelAlreadyLoaded(
            f"{language.config.max_models} model(s) may be loaded at once (the setting max_models), and this is "
            'another one: call rkllm.destroy first, give "replace": true (to unload all) or the handle of the '
            'one to replace, or configure second_init = "replace".',
            loaded=[_entry(model) for model in awake],
        )
    if awake and not language.runtime.takes_several_models:
        runtime = language.runtime.library.runtime
        raise NotSupported(
            f'Several models at once need a newer runtime than {runtime}: give "replace": true to load this one '
            "instead of the loaded one.",
            runtime=runtime,
            needs=_NEEDS,
            loaded=[_entry(model) for model in awake],
        )


def _refuse_more_than_share(language: Language, awake: list[Model], user: int | None) -> None:
    config, mine = language.config, [model for model in awake if model.user == user]
    is_operator = user is None or config.is_operator(user)
    exceeded = quotas.models(config).exceeded(len(mine), len(awake), is_operator=is_operator)
    if exceeded is not None:
        raise ModelAlreadyLoaded(
            f"{exceeded.have} {exceeded.used} models loaded, and the limit is {exceeded.limit} ({exceeded.setting}): "
            "call rkllm.destroy first, or replace one of them.",
            loaded=[_entry(model) for model in mine],
            **exceeded.data,
        )


def _entry(model: Model) -> JsonObject:
    entry: JsonObject = {"handle": model.number, "model_path": model.path}
    return entry if model.name is None else {**entry, "name": model.name}


def _domain(recipe: Recipe, used: set[int], used_now: set[int]) -> int:
    """Return a domain that no other model is in; ``used_now``: those of models that do not sleep.

    Raises InvalidParams if the recipe chose one that is taken.
    """
    if (not used_now and recipe.swap) or used.issuperset(_DOMAINS):
        used = used_now
    free = [domain for domain in _DOMAINS if domain not in used]
    if recipe.domain is not None:
        if recipe.domain in used:
            raise InvalidParams(
                f"extend_param.base_domain_id: another model is in domain {recipe.domain}; leave it out to get a free "
                "one.",
                path=f"{recipe.where}.extend_param.base_domain_id",
                keyword="enum",
                limit=free,
            )
        return recipe.domain
    default = int(recipe.param.extend_param.base_domain_id)
    return free[0] if default in used else default
