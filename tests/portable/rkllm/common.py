"""What the tests of the portable RKLLM runtime share: the demo model and what is known of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rkllmd.abi.layouts.rkllm import LLMCallState
from rkllmd.abi.layouts.rkllm_1_3_1 import RKLLMInput, RKLLMMultiModalInput
from rkllmd.abi.layouts.rkllm_common import RKLLMInferMode, RKLLMInputType
from rkllmd.portable import build
from rkllmd.portable.driver import Driver, floats

DEMO = Path(build.__file__).parent / "demo" / "demo.gguf"
LORA = DEMO.with_name("demo-lora.gguf")
NORMAL, WAITING, FINISH, ERROR = LLMCallState
HIDDEN, LOGITS = RKLLMInferMode.RKLLM_INFER_GET_LAST_HIDDEN_LAYER, RKLLMInferMode.RKLLM_INFER_GET_LOGITS
WEATHER = '[{"name": "get_weather", "description": "Get the weather of a city.", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}]'  # noqa: E501
NPU = "An NPU is a neural processing unit"
WIDTH, VOCABULARY = 128, 1024

Load = Callable[..., Driver]


def errors(capfd: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capfd.readouterr().err.splitlines() if line.startswith("E rkllm: ")]


def prompt_tokens(driver: Driver, text: str) -> list[int]:
    """Return the ids that the runtime itself makes of a first turn."""
    seen: list[int] = []

    def take(_userdata: Any, ids: Any, count: int, *_: Any) -> int:
        seen.extend(ids[:count])
        return 1

    with Driver(driver.runtime.path, DEMO, embed=take, max_context_len=1024) as other:
        other.run(text)
    return seen


def multimodal(text: str, **media: Any) -> RKLLMInput:
    made = RKLLMInput(input_type=RKLLMInputType.RKLLM_INPUT_MULTIMODAL)
    made.multimodal_input = RKLLMMultiModalInput(prompt=text.encode())
    for name, value in media.items():
        kind = "video" if "frame" in name else next(kind for kind in ("image", "video", "audio") if kind in name)
        setattr(getattr(made.multimodal_input, kind), name, value)
    return made


def one_image(text: str, **changes: Any) -> RKLLMInput:
    media = {"image_embed": floats([[0.0] * WIDTH]), "n_image": 1, "n_image_tokens": 1}
    return multimodal(text, **(media | changes))
