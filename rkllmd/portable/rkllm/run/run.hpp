// One run: prompts in, callbacks out.
#pragma once

#include "job.hpp"

#include <memory>

namespace portable {

// Executes the job, releases the claim and makes the last callback. Returns 0, or -1 after an error.
int execute(const std::shared_ptr<Session> &session, Claim claim, Job job);

} // namespace portable
