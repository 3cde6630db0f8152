"""One run of a language model, as a client has asked for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rkllmd.abi.c import byref

if TYPE_CHECKING:
    from rkllmd.calls.arguments import Converted
    from rkllmd.calls.invocation import Invocation
    from rkllmd.language.model import Model
    from rkllmd.language.parts import Language


@dataclass(frozen=True, eq=False, slots=True)
class Run:
    """What is run, on which model, for whom. The C structs of ``input`` and ``infer_params`` are its own to change."""

    language: Language
    invocation: Invocation
    model: Model
    input: Converted
    infer_params: Converted
    # What C's RKLLM has no field for; None is what was not given.
    seed: int | None = None
    special: bool | None = None
    # Whether it is rkllm.run_async.
    asynchronous: bool = False

    @property
    def parameters(self) -> Any:
        """Return the RKLLMInferParam."""
        return self.infer_params.c

    @property
    def only_input(self) -> Any:
        """Return the RKLLMInput of a run that has one."""
        return self.input.c[0] if self._is_array else self.input.c

    @property
    def inputs(self) -> Any:
        """Return what C gets: where the first RKLLMInput is."""
        return self.input.c if self._is_array else byref(self.input.c)

    @property
    def _is_array(self) -> bool:
        return isinstance(self.input.json, list)  # a client may give a single input as an array of one
