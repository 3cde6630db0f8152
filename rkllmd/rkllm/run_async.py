"""rkllm_run_async: run the model on an input; the answer token by token, as partial results.

C: int rkllm_run_async(LLMHandle handle, RKLLMInput *rkllm_input, RKLLMInferParam *rkllm_infer_params, void *userdata)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rkllmd.calls.declaration import Kind, method
from rkllmd.calls.invocation import Invocation
from rkllmd.language.model import Model
from rkllmd.language.parts import Language
from rkllmd.language.runs import inference
from rkllmd.language.runs.run import Run
from rkllmd.rkllm._common import RUN_PARAMETERS

if TYPE_CHECKING:
    from rkllmd.calls.arguments import Converted


@method(Kind.STREAMING, RUN_PARAMETERS, check=inference.check, abort=inference.abort, proves_npu=True)
def run_async(
    language: Language,
    invocation: Invocation,
    model: Model,
    rkllm_input: Converted,
    rkllm_infer_params: Converted,
    seed: int | None = None,
    special: bool | None = None,
) -> Callable[[], dict[str, Any]]:
    """Run the model; the member "stream" beside "method" chooses another shape of answer."""
    return inference.generate(
        Run(language, invocation, model, rkllm_input, rkllm_infer_params, seed, special, asynchronous=True)
    )
