// What a run is asked to do.
#pragma once

#include "session.hpp"

#include <string>
#include <vector>

namespace portable {

// A run as the caller asked for it, checked and copied.
struct Job {
    struct Entry {
        Sequence *sequence = nullptr;
        Prompt prompt;
        Texts text; // of the conversation from its beginning, if that is what the caller has given
        size_t system_cells = 0;
        bool reuse = false; // whatever the cache has in common with the prompt
        bool follows = false; // the prompt is only what stands behind all that the cache has of the text
        bool show_special = false; // among the generated tokens
        uint32_t seed = 0;
        Guide guide;
        std::optional<int> logprobs;
    };

    Turn turn = Turn::FIRST;
    RKLLMInferMode mode = RKLLM_INFER_GENERATE;
    bool keep_history = false;
    int max_new_tokens = 0; // 0 or less: as many as the model likes
    RKLLMSamplingParam sampling{};
    std::string save_path;
    std::string lora;
    void *userdata = nullptr;
    std::vector<Entry> entries;
};

// Throws a Failure for anything that is wrong with the input. The session must be claimed.
Job prepare(Session &session, const RKLLMInput *inputs, const RKLLMInferParam &param, const RunOptions &options,
            void *userdata);

} // namespace portable
