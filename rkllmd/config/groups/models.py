"""Which language models may be loaded, how many, and for how long."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rkllmd.config.values import DEFAULT_RESERVE, choice, integer, minutes, optional_directory, setting, text, when
from rkllmd.quick_dataclass import dataclass

if TYPE_CHECKING:
    from rkllmd.config.declared import DeclaredModel


def _models(value: object) -> tuple[DeclaredModel, ...]:
    if value == ():
        return ()
    from rkllmd.config import declared  # it brings the schemas of the methods, which a client does not need

    return declared.parse(value)


@dataclass(init=False, frozen=True)
class ModelSettings:
    """The settings of language models."""

    model: str = setting(
        "", text, "a model to load at start, or the name of a declared one; 'demo' is the portable runtime's own"
    )
    # Rockchip's examples take 512 to 4096; what fits depends on the model and the memory.
    max_context_len: int = setting(
        0,
        integer(0, 2**24),
        "tokens of context for models that are loaded without a length; 0: the runtime's default",
        reload=True,
    )
    models: tuple[DeclaredModel, ...] = setting(
        (), _models, "the models that may be loaded by a name: [models.NAME]", reload=True, only_in_file=True
    )
    # Clients of servers that kept their models in one place say only what is below it.
    model_directory: str = setting(
        "", optional_directory, "where relative paths of models and adapters begin; empty: none are taken", reload=True
    )
    # A client that asks for another model would take the loaded one from all others: the operator has to allow that.
    second_init: str = setting(
        "refuse",
        choice("refuse", "replace"),
        "what rkllm.init of another model does where no more may be loaded: refuse, replace the one unused for longest",
        reload=True,
    )
    # A second load that does not fit has taken the first model down with it, so the operator has to ask for several.
    max_models: int = setting(1, integer(1, 8), "how many language models may be loaded at once")
    max_models_per_user: int = setting(
        0, integer(0, 8), "how many of them one user may have loaded; 0: as many as there may be", reload=True
    )
    # To load it again takes up to a minute and loses the conversation: the operator knows whether memory is worth that.
    model_idle_minutes: float = setting(
        0.0, minutes, "unload a language model that nobody used for so many minutes; 0: never", reload=True
    )
    # A load that takes the last page of memory makes the kernel kill a process, perhaps the one that serves.
    memory_reserve_bytes: int = setting(
        DEFAULT_RESERVE, integer(0, 2**40), "memory that no load of a model may take", reload=True
    )
    # Runtimes 1.2.1 and 1.2.2 were reported to crash with n_batch above 1, and what one does with a batch in which some
    # entries end early was never seen. The portable runtime's batches are ours, and proven.
    coalesce: str = setting(
        "auto",
        when,
        "whether runs of several clients share the batches of a model with n_batch above 1; auto: with the portable "
        "runtime",
        reload=True,
    )
