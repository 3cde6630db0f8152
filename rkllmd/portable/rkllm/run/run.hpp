// One run: prompts in, callbacks out.
#pragma once

#include "job.hpp"

#include <memory>

namespace portable {

// Executes the job, releases the claim and makes the last callback. Returns 0, or -1 after an error.
int execute(const std::shared_ptr<Session> &session, Claim claim, Job job);

// Ends a run that was aborted before its prompt was read: everything is as before it. Returns 0.
int end_unread(const std::shared_ptr<Session> &session, Claim claim, void *userdata);

} // namespace portable
