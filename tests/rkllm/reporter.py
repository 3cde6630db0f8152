"""A tiny C library that prints every field that it was given, and has the fewest functions that a runtime may have.

Its functions fail with a status of their own, so that the lines come back in the error's log.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import rkllmd.abi
from rkllmd.abi.library import layout_of
from tests.facts import layout_macro

_SOURCE = r"""
#include <stdio.h>
#include <string.h>
#include "rkllm.h"
__attribute__((used)) static const char sdk[] = "RKLLM SDK (version: " VERSION " | target: Linux | build: reporter)";

#define TEXT(field) printf(#field "=%s\n", param->field ? param->field : "(null)")
#define INT(field) printf(#field "=%lld\n", (long long)param->field)
#define FLOAT(field) printf(#field "=%g\n", (double)param->field)

RKLLMParam rkllm_createDefaultParam(void)
{
    RKLLMParam param;
    memset(&param, 0, sizeof param);
    param.max_context_len = 4096;
    param.max_new_tokens = 512;
    param.top_k = 40;
    param.n_keep = -1;
    param.top_p = 0.5f;
    param.temperature = 0.25f;
    param.repeat_penalty = 1.5f;
    param.frequency_penalty = 0.125f;
    param.presence_penalty = 0.0625f;
    param.mirostat = 2;
    param.mirostat_tau = 4.5f;
    param.mirostat_eta = 0.75f;
    param.skip_special_token = true;
#if RKLLM_LAYOUT < 130
    param.img_start = "<default>";
#else
    param.ignore_eos_token = true;
#endif
    param.is_async = true;
    param.extend_param.base_domain_id = 3;
    param.extend_param.embed_flash = 1;
    param.extend_param.enabled_cpus_num = 2;
    param.extend_param.enabled_cpus_mask = CPU4 | CPU5;
    param.extend_param.n_batch = 1;
    return param;
}

static LLMResultCallback result_callback;

#if RKLLM_LAYOUT < 130
int rkllm_init(LLMHandle *handle, RKLLMParam *param, LLMResultCallback callback)
#else
int rkllm_init(LLMHandle *handle, RKLLMParam *param, RKLLMCallback *callback)
#endif
{
    TEXT(model_path);
    INT(max_context_len);
    INT(max_new_tokens);
    INT(top_k);
    INT(n_keep);
    FLOAT(top_p);
    FLOAT(temperature);
    FLOAT(repeat_penalty);
    FLOAT(frequency_penalty);
    FLOAT(presence_penalty);
    INT(mirostat);
    FLOAT(mirostat_tau);
    FLOAT(mirostat_eta);
    INT(skip_special_token);
#if RKLLM_LAYOUT < 130
    INT(is_async);
    TEXT(img_start);
    TEXT(img_end);
    TEXT(img_content);
#else
    INT(ignore_eos_token);
    INT(is_async);
    printf("result_callback=%d\ntokenizer_callback=%d\nembed_callback=%d\n", callback->result_callback != NULL,
           callback->tokenizer_callback != NULL, callback->embed_callback != NULL);
#endif
    INT(extend_param.base_domain_id);
    INT(extend_param.embed_flash);
    INT(extend_param.enabled_cpus_num);
    INT(extend_param.enabled_cpus_mask);
    INT(extend_param.n_batch);
    INT(extend_param.use_cross_attn);
    for (size_t i = 0; i < sizeof param->extend_param.reserved; i++)
        if (param->extend_param.reserved[i])
            printf("extend_param.reserved=%d\n", param->extend_param.reserved[i]);
    *handle = (void *)0x1000;
#if RKLLM_LAYOUT < 130
    result_callback = callback;
#else
    result_callback = callback->result_callback;
#endif
    return callback ? STATUS : -1;
}

int rkllm_run(LLMHandle handle, RKLLMInput *rkllm_input, RKLLMInferParam *rkllm_infer_params, void *userdata)
{
#ifdef WITH_LOGITS
    // So large that nobody could copy them.
    static float logit = 1;
    RKLLMResult result;
    memset(&result, 0, sizeof result);
    result.logits.logits = &logit;
    result.logits.vocab_size = 1 << 16;
    result.logits.num_tokens = 1 << 14;
    result_callback(&result, NULL, RKLLM_RUN_NORMAL);
    result_callback(&result, NULL, RKLLM_RUN_FINISH);
#endif
    return handle && rkllm_input && rkllm_infer_params && !userdata ? 0 : -1;
}

int rkllm_destroy(LLMHandle handle) { return handle ? 0 : -1; }

#ifdef WITH_LORA
int rkllm_load_lora(LLMHandle handle, RKLLMLoraAdapter *lora_adapter)
{
    printf("lora_adapter_path=%s\nlora_adapter_name=%s\nscale=%g\n", lora_adapter->lora_adapter_path,
           lora_adapter->lora_adapter_name, (double)lora_adapter->scale);
    return handle ? 7 : -1;
}
#endif
"""

# What rkllm_createDefaultParam of this library answers, as printed.
DEFAULTS = {
    "max_context_len": "4096",
    "max_new_tokens": "512",
    "top_k": "40",
    "n_keep": "-1",
    "top_p": "0.5",
    "temperature": "0.25",
    "repeat_penalty": "1.5",
    "frequency_penalty": "0.125",
    "presence_penalty": "0.0625",
    "mirostat": "2",
    "mirostat_tau": "4.5",
    "mirostat_eta": "0.75",
    "skip_special_token": "1",
    "is_async": "1",
    "extend_param.base_domain_id": "3",
    "extend_param.embed_flash": "1",
    "extend_param.enabled_cpus_num": "2",
    "extend_param.enabled_cpus_mask": "48",
    "extend_param.n_batch": "1",
    "extend_param.use_cross_attn": "0",
}
DEFAULTS_BY_LAYOUT = {
    "1.2": {**DEFAULTS, "img_start": "<default>", "img_end": "(null)", "img_content": "(null)"},
    "1.3": {
        **DEFAULTS,
        "ignore_eos_token": "1",
        "result_callback": "1",
        "tokenizer_callback": "0",
        "embed_callback": "0",
    },
}


def build_reporter(directory: Path, version: str, *, status: int = 7, flags: tuple[str, ...] = ()) -> Path:
    """Compile the library; its rkllm_init returns ``status``. With -DWITH_LORA it also has rkllm_load_lora.

    With -DWITH_LOGITS it calls back with logits that are too large to be copied.
    """
    source, library = directory / "reporter.c", directory / "librkllmrt.so"
    source.write_text(_SOURCE)
    macros = [layout_macro(layout_of(version) or version), f'-DVERSION="{version}"', f"-DSTATUS={status}"]
    include = f"-I{Path(rkllmd.abi.__file__).parent}"
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-Wall", "-Werror", include, *macros, *flags, "-o", str(library), str(source)],
        check=True,
    )
    return library


def reported(error: dict[str, Any]) -> dict[str, str]:
    """Return the fields that the library printed, from the error that it ended with."""
    assert error["data"]["status"] == 7, error
    return dict(line.split("=", 1) for line in error["data"]["log"])
