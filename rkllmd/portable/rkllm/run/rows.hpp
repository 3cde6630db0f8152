// The hidden states or logits that a run has collected.
#pragma once

#include "session.hpp"

#include <vector>

namespace portable {

// Lets each entry's result point at its rows.
void point_at_rows(const Session &session, Rows wanted, std::vector<RKLLMResult> &results);

} // namespace portable
