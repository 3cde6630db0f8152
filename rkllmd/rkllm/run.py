"""rkllm_run: run the model on an input; all of the answer at once.

C: int rkllm_run(LLMHandle handle, RKLLMInput *rkllm_input, RKLLMInferParam *rkllm_infer_params, void *userdata)
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


@method(Kind.NPU, RUN_PARAMETERS, check=inference.check, abort=inference.abort)
def run(
    invocation: Invocation,
    model: Model,
    rkllm_input: Converted,
    rkllm_infer_params: Converted,
    seed: int | None = None,
    special: bool | None = None,
) -> Callable[[], dict[str, Any]]:
    """Run the model; the member "stream" beside "method" chooses another shape of answer."""
    return inference.generate(
        invocation, model, rkllm_input, rkllm_infer_params, RunOptions(seed, special), asynchronous=False
    )
