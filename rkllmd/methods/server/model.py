"""server.model: what one language model is like, its chat template included."""

from __future__ import annotations

import time

from rkllmd.calls.declaration import Kind, method
from rkllmd.calls.invocation import Invocation
from rkllmd.json_types import JsonObject
from rkllmd.language.model import Model
from rkllmd.rkllm._common import LLM
from rkllmd.service.parts import Service


@method(Kind.INSTANT, [LLM], repeatable=True)
def model(service: Service, invocation: Invocation, model: Model) -> JsonObject:
    """Return what ``server.status`` says of it and more; C is not asked, so it is answered at any time."""
    return model.describe_whole(time.monotonic())
