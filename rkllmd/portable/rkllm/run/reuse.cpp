#include "reuse.hpp"

#include "log.hpp"

#include <algorithm>

namespace portable {

size_t reuse(Session &session, Job::Entry &entry, bool each) {
    Sequence &sequence = *entry.sequence;
    if (entry.follows) {
        return static_cast<size_t>(sequence.size());
    }
    sequence.forget();
    if (each || entry.prompt.front().tokens.empty()) {
        sequence.clear(); // what is computed for each token has to be computed anew
        return 0;
    }
    Tokens &tokens = entry.prompt.front().tokens;
    size_t common = sequence.common_prefix(tokens, entry.reuse);
    size_t cached = std::min(common_length(session.cached_prompt, tokens), tokens.size() - 1);
    if (cached > common) { // a run in between has dropped cells that this one can use
        try {
            sequence.load(session.cached_path);
        } catch (const Failure &failure) {
            log_warning("%s: it is not reused", failure.what());
            session.cached_prompt.clear();
        }
        common = sequence.common_prefix(tokens, entry.reuse);
    }
    sequence.cut(common);
    common = std::min(common, static_cast<size_t>(sequence.size())); // some models cannot cut
    tokens.erase(tokens.begin(), tokens.begin() + static_cast<long>(common));
    return common;
}

} // namespace portable
