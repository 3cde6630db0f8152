"""What the tests of the C side share: the layout facts, and tiny C libraries."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import rkllmd.abi
from tests.facts import RKLLM_LAYOUTS, RKNN_HEADERS, layout_macro, read

ABI = Path(rkllmd.abi.__file__).parent

TINY = r"""
#include <string.h>
#include "rkllm.h"
__attribute__((used)) static const char core[] = "rknn llm lib version: 2.3.3b0 (c824afd6c@2025-08-25T09:55:02)";
__attribute__((used)) static const char sdk[] = SDK;

RKLLMParam rkllm_createDefaultParam(void) {
    RKLLMParam param;
    memset(&param, 0, sizeof param);
    param.max_context_len = 4096;
    param.max_new_tokens = 512;
    param.top_k = 40;
    param.top_p = 0.9f;
    param.temperature = 0.8f;
    param.repeat_penalty = 1.1f;
    param.mirostat_tau = 5.0f;
    param.mirostat_eta = 0.1f;
    param.skip_special_token = true;
#if RKLLM_LAYOUT < 130
    param.img_start = "<img>";
#endif
    param.extend_param.enabled_cpus_num = 4;
    param.extend_param.enabled_cpus_mask = CPU4 | CPU5 | CPU6 | CPU7;
    param.extend_param.n_batch = 1;
    DEFAULTS
    return param;
}

#if RKLLM_LAYOUT < 130
int rkllm_init(LLMHandle *handle, RKLLMParam *param, LLMResultCallback callback)
#else
int rkllm_init(LLMHandle *handle, RKLLMParam *param, RKLLMCallback *callback)
#endif
{
    *handle = (void *)0x1000;
    return param->max_new_tokens == 7 && callback ? 0 : -1;
}

int rkllm_run(LLMHandle handle, RKLLMInput *rkllm_input, RKLLMInferParam *rkllm_infer_params, void *userdata) {
    return handle == (void *)0x1000 && !userdata ? rkllm_infer_params->keep_history + (int)rkllm_input->input_type : -1;
}

int rkllm_destroy(LLMHandle handle) { return handle ? 0 : -1; }
"""


@pytest.fixture(scope="session")
def facts() -> dict[str, Any]:
    """Layout name → the facts of that layout."""
    return {layout: read(f"rkllm-{layout}") for layout in RKLLM_LAYOUTS}


@pytest.fixture(scope="session")
def rknn_facts() -> dict[str, Any]:
    """Header name → the facts of RKNN's headers."""
    return {name: read(name) for name in RKNN_HEADERS}


@pytest.fixture
def tiny(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that builds a tiny RKLLM library and returns its path."""

    def build(
        layout: str = "1.2",
        version: str = "1.2.3",
        *,
        sdk: str | None = None,
        defaults: str = "",
        source: str = TINY,
        more: str = "",
        flags: tuple[str, ...] = (),
        name: str = "librkllmrt.so",
    ) -> Path:
        text = (
            sdk if sdk is not None else f"RKLLM SDK (version: {version} | target: Linux | build: f8ca3ae8 2025-04-08)"
        )
        path = tmp_path / name
        (tmp_path / "tiny.c").write_text(f"{source}\n{more}\n")
        macros = [layout_macro(layout), f"-DDEFAULTS={defaults}", f'-DSDK="{text}"']
        command = ["cc", "-shared", "-fPIC", f"-I{ABI}", *macros, "-o", str(path), str(tmp_path / "tiny.c"), *flags]
        subprocess.run(command, check=True)
        return path

    return build
