"""One run of a language model, as a client has asked for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NotRequired, Self, TypedDict

from rkllmd.abi.c import Struct, byref
from rkllmd.json_types import JsonObject
from rkllmd.language.guided.form import Form
from rkllmd.portable.extension import NextRun
from rkllmd.quick_dataclass import dataclass
from rkllmd.wire.long_strings import plain

if TYPE_CHECKING:
    from rkllmd.calls.arguments import Converted
    from rkllmd.calls.binding.attachments import Attachments
    from rkllmd.calls.invocation import Invocation
    from rkllmd.language.model import Model
    from rkllmd.language.parts import Language


class RunArguments(TypedDict):
    """What rkllm.run and rkllm.run_async are called with (RUN_PARAMETERS in rkllm/_common.py declares it)."""

    model: Model
    rkllm_input: Converted
    rkllm_infer_params: Converted
    seed: NotRequired[int | None]
    special: NotRequired[bool | None]
    stop: NotRequired[list[str] | None]
    bare: NotRequired[bool | None]
    suffix: NotRequired[str | None]
    messages: NotRequired[Converted | None]
    tools: NotRequired[list[JsonObject] | None]
    raw: NotRequired[bool | None]
    format: NotRequired[str | JsonObject | None]
    tool_choice: NotRequired[str | JsonObject | None]
    logprobs: NotRequired[int | None]


@dataclass(frozen=True, eq=False, slots=True)
class Run:
    """What is run, on which model, for whom. It may change the C structs of its ``input`` and ``infer_params``."""

    language: Language
    invocation: Invocation
    model: Model
    input: Converted
    infer_params: Converted
    # Options that C's RKLLM has no field for; None if they were not given.
    seed: int | None = None
    special: bool | None = None
    # Where its text ends.
    stop: Sequence[str] = ()
    # Whether no template stands around its prompt, and what stands behind the gap that it fills in.
    bare: bool | None = None
    suffix: str | None = None
    # A conversation in the place of a prompt, and the functions that the model may call in it.
    messages: list[JsonObject] | None = None
    tools: list[JsonObject] | None = None
    # Whether the answer to it is shown as the model writes it.
    raw: bool | None = None
    # What its answer must be.
    form: Form | None = None
    # With how many of the likeliest tokens each token of the answer is told; None: nothing is told of them.
    logprobs: int | None = None
    # What the media in messages refer to.
    sources: Attachments | None = None
    # Whether the method is rkllm.run_async.
    asynchronous: bool = False

    @classmethod
    def of(cls, language: Language, invocation: Invocation, asked: RunArguments, *, asynchronous: bool = False) -> Self:
        """Return the run that a call asks for. Raises InvalidParams, NotSupported: a form that can't be guaranteed."""
        choice, messages, tools = asked.get("tool_choice"), asked.get("messages"), plain(asked.get("tools"))
        return cls(
            language,
            invocation,
            asked["model"],
            asked["rkllm_input"],
            asked["rkllm_infer_params"],
            asked.get("seed"),
            asked.get("special"),
            asked.get("stop") or (),
            asked.get("bare"),
            plain(asked.get("suffix")),
            None if messages is None else messages.json,
            None if choice == "none" else tools,
            asked.get("raw"),
            Form.of(plain(asked.get("format")), tools, choice),
            asked.get("logprobs"),
            None if messages is None else messages.sources,
            asynchronous,
        )

    @property
    def parameters(self) -> Struct:
        """Return the RKLLMInferParam."""
        parameters: Struct = self.infer_params.c
        return parameters

    @property
    def is_bare(self) -> bool:
        """Return whether no chat template stands around its prompt."""
        return bool(self.bare) or self.suffix is not None

    @property
    def only_input(self) -> Struct:
        """Return the RKLLMInput of a run that has a single one."""
        only: Struct = self.input.c[0] if self._is_array else self.input.c
        return only

    @property
    def has_one_input(self) -> bool:
        """Return whether it has a single input, also for a model that takes several."""
        return not self._is_array or len(self.input.json) == 1

    @property
    def is_alone_in_batch(self) -> bool:
        """Return whether it has one entry of the model's batch, and the others are nobody's."""
        return self.model.n_batch > 1 and not self._is_array

    @property
    def inputs(self) -> object:
        """Return the argument for C: a reference to the first RKLLMInput.

        C takes n_batch inputs, always. What it makes of an empty one is not known of the vendor's runtime, so entries
        that are nobody's are given the same as the run's own.
        """
        if self.is_alone_in_batch:
            return (type(self.input.c) * self.model.n_batch)(*[self.input.c] * self.model.n_batch)
        return self.input.c if self._is_array else byref(self.input.c)

    def enter(self, options: NextRun) -> None:
        """Give the portable runtime these options for its next call, and one entry if the run is alone in a batch."""
        extension, pointer = self.language.runtime.extension, self.model.pointer
        if extension is None:
            return
        if self.is_alone_in_batch:
            extension.next_run(pointer, NextRun())
            extension.next_entry(pointer, 0, options)
        elif options != NextRun():
            extension.next_run(pointer, options)

    @property
    def _is_array(self) -> bool:
        return isinstance(self.input.json, list)  # a client may give a single input as an array of one
