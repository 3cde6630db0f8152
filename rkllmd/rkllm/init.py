"""rkllm_init: load a language model; it stays loaded until rkllm.destroy, even if the client disconnects.

C: int rkllm_init(LLMHandle *handle, RKLLMParam *param, RKLLMCallback *callback)

Up to runtime 1.2.3 the last argument is the result callback itself. Beside the fields of RKLLMParam, two members of the
daemon's own set the other callbacks of 1.3: ``tokenizer_path`` (a tokenizer.json, for a model converted without its
tokenizer) and ``embedding_path`` (rows of float32, for a model converted without its embedding layer).

``model_path`` may be the name of a model that the configuration declares. ``replace`` first unloads all loaded models
(true), or one of them (its handle); if the new load fails, they are loaded again. ``force`` loads a model that is set
aside because it has crashed the daemon again and again.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from rkllmd.calls import authority
from rkllmd.calls.declaration import FORCE, COnly, Kind, StructParameter, Value, method
from rkllmd.calls.invocation import Invocation
from rkllmd.calls.results import success
from rkllmd.errors import Cancelled, OutOfMemory, RpcError
from rkllmd.json_types import Json, JsonObject
from rkllmd.language.model import Model
from rkllmd.language.models import model_trial, places
from rkllmd.language.models import recipe as model_recipe
from rkllmd.language.models.loading import forget, load, load_again, make, put_to_sleep, try_files, unload, wake
from rkllmd.language.models.places import Place
from rkllmd.language.models.recipe import Recipe
from rkllmd.language.parts import Language
from rkllmd.rkllm._common import LLM
from rkllmd.trials import trial

if TYPE_CHECKING:
    from rkllmd.calls.arguments import Converted
    from rkllmd.npu.job import Arrival

log = structlog.get_logger()

_REPLACE: Final = {
    "type": ["boolean", "integer", "null"],
    "minimum": 1,
    "maximum": 2**53,  # an error repeats the number, which JSON must be able to carry
    "description": "true: unload the loaded models first; a handle: unload that one first",
}


def _check(
    language: Language, invocation: Invocation, param: Converted, replace: bool | int = False, force: bool = False
) -> None:
    recipe = _recipe(language, invocation, param)
    if not force:
        trial.refuse_set_aside(language, recipe.path)
    if language.npu.queue.changes(LLM.types):  # the rest depends on loads and unloads that come first
        return
    if places.loaded_already(language, recipe, replace) is None:
        places.find(language, recipe, replace, invocation.client.user)


def _arrives(
    language: Language, invocation: Invocation, param: Converted, replace: bool | int = False, force: bool = False
) -> Callable[[], Arrival]:
    return partial(places.arrival, language, _recipe(language, invocation, param), replace)


def _recipe(language: Language, invocation: Invocation, param: Converted) -> Recipe:
    viewer = authority.viewer(invocation.client, language.config)
    return model_recipe.make(language, param.json, param.path, viewer)


def _model_of(language: Language, param: Converted | None = None, **_: object) -> Json:
    path = None if param is None else param.json.get("model_path")
    return next((item.path for item in language.config.models if item.name == path), path)


@method(
    Kind.NPU,
    [
        COnly("handle"),
        # Raw: model_path may be a name, whose meaning the configuration knows.
        StructParameter("param", "RKLLMParam", required_fields=["model_path"], raw=True),
        COnly("callback"),
        Value("replace", _REPLACE, required=False, in_c=False),
        FORCE,
    ],
    check=_check,
    changes=LLM.types,
    loads=True,
    model_of=_model_of,
    arrives=_arrives,
)
def init(
    language: Language, invocation: Invocation, param: Converted, replace: bool | int = False, force: bool = False
) -> JsonObject:
    """Load the model; return its handle, and those of the models that leave for it.

    ``replaced`` are unloaded for good, ``displaced`` sleep, and ``forgotten`` slept and have no handle any more.
    If no more models may be loaded and this very one is loaded already, return its handle with ``already_loaded``.
    """
    # The whole check again: while this call waited, a link may have changed and another load may have ended.
    recipe = _recipe(language, invocation, param)
    same = places.loaded_already(language, recipe, replace)
    if same is not None:
        wake(language, same)
        message = "This very model is loaded already, with the same parameters."
        return success(handle=same.number, message=message, already_loaded=True)
    trial.refuse_set_aside(language, recipe.path, force=force)
    place = places.find(language, recipe, replace, invocation.client.user)
    sameness = recipe.sameness  # before C may write to it
    recipe.param.extend_param.base_domain_id = place.domain
    model = _load_in_place(language, invocation, recipe, place)
    model.sameness, model.user = sameness, invocation.client.user
    replaced = [old.number for old in place.replaced]
    forgotten = [old.number for old in place.forgotten]
    displaced = [old.number for old in place.displaced]
    model.number = language.models.replace([*replaced, *forgotten], model)
    forget(language, [*place.replaced, *place.forgotten], invocation.client.number)
    for old in place.displaced:
        language.remembered.put(old)
    language.remembered.keep(model)
    log.info(
        "model_loaded",
        client=invocation.client.describe(),
        handle=model.number,
        name=model.name,
        model_path=model.path,
        bytes=model.size_bytes,
        max_context_len=model.max_context_len,
        chat_template=model.template_in_use,
        domain=place.domain,
        replaced=replaced,
        forgotten=forgotten,
        displaced=displaced,
    )
    message = f"Loaded {Path(model.path).name}."
    gone = {"replaced": replaced, "displaced": displaced, "forgotten": forgotten}
    return success(handle=model.number, message=message, **{name: found for name, found in gone.items() if found})


def _load_in_place(language: Language, invocation: Invocation, recipe: Recipe, place: Place) -> Model:
    """Load the model in place of those that it replaces; if that fails, load them again and say so in the error."""
    unloaded = [old for old in (*place.replaced, *place.displaced) if not old.is_asleep]
    if invocation.is_cancelled:
        raise Cancelled("The load was cancelled before it began.")
    trials = model_trial.of_recipe(language, recipe)
    # If there is memory for the trial beside them, the models to be replaced still serve meanwhile.
    is_tried = not unloaded or _fits_beside(language, recipe)
    if is_tried:
        try_files(language, trials, recipe.seen_by)
    model = make(language, recipe)
    try:
        for old in unloaded:
            put_to_sleep(language, old)
        if unloaded:  # how much memory they have given back is known only now
            language.memory_guard.check(recipe.demand)
        if not is_tried:
            try_files(language, trials, recipe.seen_by)
        load(language, model, recipe)
        if invocation.is_cancelled:  # before anybody can find the model
            unload(language, model)
            raise Cancelled("The load was cancelled; the model was unloaded again.")
        return model
    except BaseException as error:
        restored, lost = _restore(language, [old for old in unloaded if old.is_asleep])
        if isinstance(error, RpcError) and unloaded:
            error.data["restored"] = restored
            error.data.update({"lost": lost} if lost else {})
        raise


def _fits_beside(language: Language, recipe: Recipe) -> bool:
    try:
        language.memory_guard.check(recipe.demand)
    except OutOfMemory:
        return False
    return True


def _restore(language: Language, models: list[Model]) -> tuple[list[int], list[int]]:
    """Load models again that were to be replaced; return the handles of those that are back, and of the lost ones.

    Memory is not checked: what they took is free, and a refusal would lose them for certain.
    """
    restored: list[int] = []
    lost: list[int] = []
    for model in models:
        try:
            if language.npu.closing:  # nobody will use it again
                raise RuntimeError("the daemon is shutting down")
            load_again(language, model)
            restored.append(model.number)
        except Exception as error:
            reason = error.to_json() if isinstance(error, RpcError) else str(error)
            log.error("model_lost", handle=model.number, model_path=model.path, error=reason)
            lost.append(model.number)
            forget(language, [model])
    return restored, lost
