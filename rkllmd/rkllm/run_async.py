"""rkllm_run_async: run the model on an input; the answer token by token, as partial results.

C: int rkllm_run_async(LLMHandle handle, RKLLMInput *rkllm_input, RKLLMInferParam *rkllm_infer_params, void *userdata)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rkllmd import inference
from rkllmd.context import Invocation
from rkllmd.handles import Model
from rkllmd.method import Kind, method
from rkllmd.rkllm._common import RUN_PARAMETERS
from rkllmd.run_options import RunOptions

if TYPE_CHECKING:
    from rkllmd.dispatch import Converted


@method(Kind.STREAMING, RUN_PARAMETERS, check=inference.check, abort=inference.abort)
def run_async(
    invocation: Invocation,
    model: Model,
    rkllm_input: Converted,
    rkllm_infer_params: Converted,
    seed: int | None = None,
    special: bool | None = None,
) -> Callable[[], dict[str, Any]]:
    """Run the model; the member "stream" beside "method" chooses another shape of answer."""
    return inference.generate(
        invocation, model, rkllm_input, rkllm_infer_params, RunOptions(seed, special), asynchronous=True
    )
