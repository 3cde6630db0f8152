// One run: prompts in, callbacks out.
#pragma once

#include "session.hpp"

#include <memory>
#include <string>
#include <vector>

namespace portable {

// A run as the caller asked for it, checked and copied.
struct Job {
    struct Entry {
        Prompt prompt;
        size_t system_cells = 0;
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
Job prepare(Session &session, const RKLLMInput *inputs, const RKLLMInferParam &param, void *userdata);

// Executes the job, releases the claim and makes the last callback. Returns 0, or -1 after an error.
int execute(const std::shared_ptr<Session> &session, Claim claim, Job job);

} // namespace portable
