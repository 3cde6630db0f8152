#include "extension.hpp"

#include "guarded.hpp"
#include "handles.hpp"

#include <cstdio>
#include <string>

using namespace portable;

int rkllm_portable_next_run(void *handle, const uint32_t *seed, const size_t *meant, size_t n_meant) {
    return guarded("rkllm_portable_next_run", [&] {
        std::shared_ptr<Session> session = session_of(handle);
        RunOptions options;
        if (seed) {
            options.seed = *seed;
        }
        if (n_meant > 0) {
            require(meant, "meant");
        }
        for (size_t i = 0; i < n_meant; ++i) {
            options.meant.emplace_back(meant[2 * i], meant[2 * i + 1]);
        }
        Claim claim(session);
        session->next_run = std::move(options);
        return 0;
    });
}

int rkllm_portable_describe(void *handle, char *json, size_t size) {
    return guarded("rkllm_portable_describe", [&] {
        std::shared_ptr<Session> session = session_of(handle);
        const Model &model = session->model;
        std::string text = "{\"context_len\":" + std::to_string(model.context_limit()) +
                           ",\"trained_context_len\":" + std::to_string(model.trained_context()) +
                           ",\"context_bytes\":" + std::to_string(model.context_bytes()) +
                           ",\"threads\":" + std::to_string(model.most_threads()) + ",\"chat_template\":\"" +
                           session->chat.origin() + "\"}";
        if (json && text.size() < size) {
            text.copy(json, text.size());
            json[text.size()] = '\0';
        }
        return static_cast<int>(text.size());
    });
}

const char *rkllm_portable_engine() {
    return llama_print_system_info();
}
