// The functions of RKLLM 1.3.1 over llama.cpp. Each checks, finds the session and calls the part that does the work; what
// goes wrong there arrives here as an exception and leaves as one line on stderr and -1.
#include "guarded.hpp"
#include "handles.hpp"
#include "run.hpp"

#include <algorithm>
#include <string>
#include <thread>
#include <utility>

#ifndef RKLLMD_ENGINE
#error "RKLLMD_ENGINE names the engine's version: build with python -m rkllmd.portable.build"
#endif

using namespace portable;

namespace {

// Read from the file's bytes by whoever wants to know what it is, as with the vendor's library.
[[gnu::used]] const char VERSION[] =
    "RKLLM SDK (version: 1.3.1 | target: portable | engine: llama.cpp " RKLLMD_ENGINE ")";

int start(const char *function, LLMHandle handle, RKLLMInput *inputs, RKLLMInferParam *param, void *userdata,
          bool background) noexcept {
    return guarded(function, [&] {
        std::shared_ptr<Session> session = session_of(handle);
        require(inputs, "rkllm_input");
        require(param, "rkllm_infer_params");
        Claim claim(session);
        session->join_thread(); // it has released its claim and is about to end
        session->stop = false;
        RunOptions options = std::exchange(session->next_run, {});
        session->running = true; // from here on it can be aborted
        auto job = std::make_shared<Job>();
        try {
            *job = prepare(*session, inputs, *param, options, userdata);
        } catch (const Aborted &) {
            return end_unread(session, std::move(claim), userdata);
        } catch (...) {
            session->running = false;
            throw;
        }
        if (!background) {
            return execute(session, std::move(claim), std::move(*job));
        }
        try {
            session->start_thread([session, job, claim = std::make_shared<Claim>(std::move(claim))] {
                execute(session, std::move(*claim), std::move(*job));
            });
        } catch (...) {
            session->running = false; // no thread could be made
            throw;
        }
        return 0;
    });
}

} // namespace

RKLLMParam rkllm_createDefaultParam() {
    RKLLMParam param{};
    param.max_context_len = 0; // the model's own, as far as memory allows
    param.max_new_tokens = 256;
    // Greedy: the same question gets the same answer, and a tiny model its most legible one. Whoever wants variety asks
    // for it, by top_k at init or in a run's sampling_params.
    param.top_k = 1;
    param.top_p = 0.9f;
    param.temperature = 0.8f;
    param.repeat_penalty = 1.1f;
    param.mirostat_tau = 5.0f;
    param.mirostat_eta = 0.1f;
    param.skip_special_token = true;
    param.extend_param.enabled_cpus_num = 0; // one thread for each core that is free
    param.extend_param.enabled_cpus_mask = 0;
    param.extend_param.n_batch = 1;
    return param;
}

int rkllm_init(LLMHandle *handle, RKLLMParam *param, RKLLMCallback *callback) {
    return guarded("rkllm_init", [&] {
        log_info("rkllm-runtime version: 1.3.1, rknpu driver version: none, platform: portable");
        require(handle, "handle");
        *handle = nullptr;
        require(param, "param");
        require(param->model_path, "model_path");
        require(callback, "callback");
        require(reinterpret_cast<const void *>(callback->result_callback), "result_callback");
        log_info("loading rkllm model from %s", param->model_path);
        *handle = add_handle(std::make_shared<Session>(*param, *callback));
        return 0;
    });
}

int rkllm_destroy(LLMHandle handle) {
    return guarded("rkllm_destroy", [&] {
        std::shared_ptr<Session> session = remove_handle(handle);
        session->stop = true;
        if (!session->is_own_thread()) { // a callback cannot wait for the run that it belongs to
            session->wait_until_idle();
        }
        session->join_thread();
        return 0;
    });
}

int rkllm_run(LLMHandle handle, RKLLMInput *rkllm_input, RKLLMInferParam *rkllm_infer_params, void *userdata) {
    bool background = false;
    int status = guarded("rkllm_run", [&] {
        background = session_of(handle)->param.is_async;
        return 0;
    });
    return status != 0 ? status : start("rkllm_run", handle, rkllm_input, rkllm_infer_params, userdata, background);
}

int rkllm_run_async(LLMHandle handle, RKLLMInput *rkllm_input, RKLLMInferParam *rkllm_infer_params, void *userdata) {
    return start("rkllm_run_async", handle, rkllm_input, rkllm_infer_params, userdata, true);
}

int rkllm_abort(LLMHandle handle) {
    return guarded("rkllm_abort", [&] {
        std::shared_ptr<Session> session = session_of(handle);
        if (!session->running) {
            throw Failure("no run is in progress");
        }
        session->stop = true;
        return 0;
    });
}

int rkllm_is_running(LLMHandle handle) {
    return guarded("rkllm_is_running", [&] { return session_of(handle)->running ? 1 : 0; });
}

int rkllm_load_lora(LLMHandle handle, RKLLMLoraAdapter *lora_adapter) {
    return guarded("rkllm_load_lora", [&] {
        std::shared_ptr<Session> session = session_of(handle);
        require(lora_adapter, "lora_adapter");
        require(lora_adapter->lora_adapter_path, "lora_adapter_path");
        require(lora_adapter->lora_adapter_name, "lora_adapter_name");
        std::string name = lora_adapter->lora_adapter_name;
        if (name.empty()) {
            throw Failure("lora_adapter_name is empty");
        }
        Claim claim(session);
        session->model.load_lora(name, lora_adapter->lora_adapter_path, lora_adapter->scale);
        return 0;
    });
}

int rkllm_load_prompt_cache(LLMHandle handle, const char *prompt_cache_path) {
    return guarded("rkllm_load_prompt_cache", [&] {
        std::shared_ptr<Session> session = session_of(handle);
        require(prompt_cache_path, "prompt_cache_path");
        Claim claim(session);
        session->paused = false;
        for (Sequence &sequence : session->sequences) {
            session->cached_prompt = sequence.load(prompt_cache_path);
        }
        session->cached_path = prompt_cache_path;
        return 0;
    });
}

int rkllm_release_prompt_cache(LLMHandle handle) {
    return guarded("rkllm_release_prompt_cache", [&] {
        std::shared_ptr<Session> session = session_of(handle);
        Claim claim(session);
        session->cached_prompt.clear();
        for (Sequence &sequence : session->sequences) {
            sequence.allow_reuse(0);
            if (!sequence.in_history && !session->paused) {
                sequence.clear();
            }
        }
        return 0;
    });
}

int rkllm_clear_kv_cache(LLMHandle handle, int keep_system_prompt, int *start_pos, int *end_pos) {
    return guarded("rkllm_clear_kv_cache", [&] {
        std::shared_ptr<Session> session = session_of(handle);
        if (!start_pos != !end_pos) {
            throw Failure("start_pos and end_pos are given both or not at all");
        }
        Claim claim(session);
        if (start_pos) {
            session->clear_ranges(start_pos, end_pos);
        } else {
            session->clear(keep_system_prompt != 0);
        }
        return 0;
    });
}

int rkllm_get_kv_cache_size(LLMHandle handle, int *cache_sizes) {
    return guarded("rkllm_get_kv_cache_size", [&] {
        std::shared_ptr<Session> session = session_of(handle);
        require(cache_sizes, "cache_sizes");
        for (const Sequence &sequence : session->sequences) {
            cache_sizes[sequence.id()] = sequence.size();
        }
        return 0;
    });
}

int rkllm_set_chat_template(LLMHandle handle, const char *system_prompt, const char *prompt_prefix,
                            const char *prompt_postfix) {
    return guarded("rkllm_set_chat_template", [&] {
        std::shared_ptr<Session> session = session_of(handle);
        Claim claim(session);
        session->chat.set_custom(system_prompt, prompt_prefix, prompt_postfix);
        return 0;
    });
}

int rkllm_set_function_tools(LLMHandle handle, const char *system_prompt, const char *tools,
                             const char *tool_response_str) {
    return guarded("rkllm_set_function_tools", [&] {
        std::shared_ptr<Session> session = session_of(handle);
        require(tools, "tools");
        Claim claim(session);
        session->chat.set_tools(system_prompt, tools, tool_response_str);
        return 0;
    });
}

int rkllm_set_cross_attn_params(LLMHandle, RKLLMCrossAttnParam *) {
    // llama.cpp computes an encoder's keys and values itself and takes none from outside.
    log_error("cross attention is not supported by the portable runtime");
    return -1;
}
