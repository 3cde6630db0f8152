// What an entry finds in the cache of what it is to read.
#pragma once

#include "job.hpp"

namespace portable {

// Leaves in the cache what the prompt of a first turn begins with, if it may be reused, and takes it off the prompt.
// `each`: results are wanted for each token. Returns how many tokens need not be read.
size_t reuse(Session &session, Job::Entry &entry, bool each);

} // namespace portable
