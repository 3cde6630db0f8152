#include "rows.hpp"

namespace portable {

void point_at_rows(const Session &session, Rows wanted, std::vector<RKLLMResult> &results) {
    int width = wanted == Rows::HIDDEN ? session.model.hidden_width() : session.model.vocabulary();
    for (size_t i = 0; i < results.size(); ++i) {
        const std::vector<float> &rows = session.rows[i];
        int count = static_cast<int>(rows.size() / static_cast<size_t>(width));
        if (wanted == Rows::HIDDEN) {
            results[i].last_hidden_layer = {rows.data(), width, count};
        } else {
            results[i].logits = {rows.data(), width, count};
        }
    }
}

} // namespace portable
