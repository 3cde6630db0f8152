/* The exported functions that change or show a loaded model: adapters, caches, templates, tools. */
#include "simulator.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void set_string(char **target, const char *value)
{
    free(*target);
    *target = copy_string(value);
}

/* ---- adapters and prompt caches ----------------------------------------------------------------------------- */

static int load_lora(const Call *call, const RKLLMLoraAdapter *adapter)
{
    if (!adapter || !adapter->lora_adapter_path || !adapter->lora_adapter_name) {
        complain("rkllm_load_lora without a path or a name");
        return -1;
    }
    if (access(adapter->lora_adapter_path, R_OK) != 0) {
        vendor_log(call->scenario, "E rkllm: can't open %s: %s", adapter->lora_adapter_path, strerror(errno));
        return -1;
    }
    Lora *lora = allocate(1, sizeof *lora);
    *lora = (Lora){call->model->loras, copy_string(adapter->lora_adapter_name)};
    call->model->loras = lora;
    return 0;
}

int rkllm_load_lora(LLMHandle handle, RKLLMLoraAdapter *lora_adapter)
{
    Call call;
    if (call_enter(&call, FN_load_lora, handle))
        call.status = load_lora(&call, lora_adapter);
    return call_leave(&call);
}

static int load_prompt_cache(const Call *call, const char *path)
{
    if (call->model->prompt_cache) {
        vendor_log(call->scenario, "E rkllm: release the prompt cache before loading another");
        return -1;
    }
    FILE *file = path ? fopen(path, "re") : NULL;
    if (!file) {
        vendor_log(call->scenario, "E rkllm: can't open the prompt cache");
        return -1;
    }
    Text cache = {0};
    char chunk[4096];
    size_t length;
    text_add(&cache, "", 0);
    while ((length = fread(chunk, 1, sizeof chunk, file)) > 0)
        text_add(&cache, chunk, length);
    fclose(file);
    call->model->prompt_cache = cache.bytes;
    return 0;
}

int rkllm_load_prompt_cache(LLMHandle handle, const char *prompt_cache_path)
{
    Call call;
    if (call_enter(&call, FN_load_prompt_cache, handle))
        call.status = load_prompt_cache(&call, prompt_cache_path);
    return call_leave(&call);
}

int rkllm_release_prompt_cache(LLMHandle handle)
{
    Call call;
    if (call_enter(&call, FN_release_prompt_cache, handle)) {
        set_string(&call.model->prompt_cache, NULL);
        call.status = 0;
    }
    return call_leave(&call);
}

/* ---- KV cache ----------------------------------------------------------------------------------------------- */

static int clear_ranges(const Call *call, const int *start, const int *end)
{
    Model *model = call->model;
    if (!start || !end || (call->scenario->kv_ranges_need_pause && !model->paused))
        return -1;
    for (int entry = 0; entry < model->n_batch; entry++)
        if (start[entry] < 0 || start[entry] > end[entry] || end[entry] > model->kv[entry])
            return -1;
    for (int entry = 0; entry < model->n_batch; entry++)
        model->kv[entry] -= end[entry] - start[entry];
    return 0;
}

static int clear_all(Model *model, bool keep_system_prompt)
{
    int kept = keep_system_prompt && model->system_prompt ? (int)strlen(model->system_prompt) : 0;
    for (int entry = 0; entry < model->n_batch; entry++)
        model->kv[entry] = kept < model->kv[entry] ? kept : model->kv[entry];
    model_forget_pause(model);
    return 0;
}

int rkllm_clear_kv_cache(LLMHandle handle, int keep_system_prompt, int *start_pos, int *end_pos)
{
    Call call;
    if (call_enter(&call, FN_clear_kv_cache, handle))
        call.status = start_pos || end_pos ? clear_ranges(&call, start_pos, end_pos)
                                           : clear_all(call.model, keep_system_prompt != 0);
    return call_leave(&call);
}

static int get_kv_cache_size(Model *model, int *sizes)
{
    if (!sizes)
        return -1;
    for (int entry = 0; entry < model->n_batch; entry++)
        sizes[entry] = model->kv[entry];
    return 0;
}

int rkllm_get_kv_cache_size(LLMHandle handle, int *cache_sizes)
{
    Call call;
    if (call_enter(&call, FN_get_kv_cache_size, handle))
        call.status = get_kv_cache_size(call.model, cache_sizes);
    return call_leave(&call);
}

/* ---- templates, tools, cross attention ---------------------------------------------------------------------- */

int rkllm_set_chat_template(LLMHandle handle, const char *system_prompt, const char *prompt_prefix,
                            const char *prompt_postfix)
{
    Call call;
    if (call_enter(&call, FN_set_chat_template, handle)) {
        set_string(&call.model->system_prompt, system_prompt);
        set_string(&call.model->prompt_prefix, prompt_prefix);
        set_string(&call.model->prompt_postfix, prompt_postfix);
        call.model->has_template = true;
        call.status = 0;
    }
    return call_leave(&call);
}

int rkllm_set_function_tools(LLMHandle handle, const char *system_prompt, const char *tools,
                             const char *tool_response_str)
{
    Call call;
    if (call_enter(&call, FN_set_function_tools, handle)) {
        set_string(&call.model->system_prompt, system_prompt);
        set_string(&call.model->tools, tools);
        set_string(&call.model->tool_tag, tool_response_str);
        call.status = 0;
    }
    return call_leave(&call);
}

static double add_array(Model *model, const char *name, const float *floats, size_t count)
{
    double sum = 0;
    promise_bytes(&model->cross_arrays, name, floats, count * sizeof *floats);
    for (size_t i = 0; floats && i < count; i++)
        sum += floats[i];
    return sum;
}

/* The simulator's cross attention has one layer of one head, `embd` wide. */
static int set_cross_attn_params(const Call *call, const RKLLMCrossAttnParam *params)
{
    Model *model = call->model;
    if (!params || params->num_tokens <= 0 || !model->param.extend_param.use_cross_attn)
        return -1;
    size_t tokens = (size_t)params->num_tokens, wide = tokens * (size_t)call->scenario->embd;
    long long positions = 0;
    promises_forget(&model->cross_arrays);
    promise_bytes(&model->cross_arrays, "encoder_pos", params->encoder_pos, tokens * sizeof *params->encoder_pos);
    for (size_t i = 0; params->encoder_pos && i < tokens; i++)
        positions += params->encoder_pos[i];
    Text text = {0};
    text_print(&text, "[cross n=%d k=%g", params->num_tokens,
               add_array(model, "encoder_k_cache", params->encoder_k_cache, wide));
    text_print(&text, " v=%g", add_array(model, "encoder_v_cache", params->encoder_v_cache, wide));
    text_print(&text, " mask=%g", add_array(model, "encoder_mask", params->encoder_mask, tokens));
    text_print(&text, " pos=%lld]", positions);
    free(model->cross_text);
    model->cross_text = text.bytes;
    return 0;
}

int rkllm_set_cross_attn_params(LLMHandle handle, RKLLMCrossAttnParam *cross_attn_params)
{
    Call call;
    if (call_enter(&call, FN_set_cross_attn_params, handle))
        call.status = set_cross_attn_params(&call, cross_attn_params);
    return call_leave(&call);
}
