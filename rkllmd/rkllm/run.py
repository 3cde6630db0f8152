"""rkllm_run: run the model on an input; the whole answer at once.

C: int rkllm_run(LLMHandle handle, RKLLMInput *rkllm_input, RKLLMInferParam *rkllm_infer_params, void *userdata)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Unpack

from rkllmd.calls.declaration import Kind, method
from rkllmd.calls.invocation import Invocation
from rkllmd.json_types import JsonObject
from rkllmd.language.batches import running
from rkllmd.language.parts import Language
from rkllmd.language.runs import inference
from rkllmd.language.runs.run import Run, RunArguments
from rkllmd.language.runs.together import coalescing
from rkllmd.rkllm._common import RUN_PARAMETERS


@method(
    Kind.NPU,
    RUN_PARAMETERS,
    check=inference.check,
    abort=inference.abort,
    proves_npu=True,
    together=coalescing.together,
)
def run(language: Language, invocation: Invocation, **asked: Unpack[RunArguments]) -> Callable[[], JsonObject]:
    """Run the model; the member "stream" beside "method" chooses another shape of answer."""
    return running.generate(Run.of(language, invocation, asked))
