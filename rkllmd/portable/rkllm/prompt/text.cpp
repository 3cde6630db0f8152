#include "text.hpp"

#include <algorithm>

namespace portable {

std::string joined(const Texts &texts) {
    std::string whole;
    for (const Text &text : texts) {
        whole += text.text;
    }
    return whole;
}

Texts split(const std::string &text, const Spans &meant) {
    Texts texts;
    size_t at = 0;
    for (auto [begin, end] : meant) {
        begin = std::clamp(begin, at, text.size());
        end = std::clamp(end, begin, text.size());
        texts.push_back({text.substr(at, begin - at), false});
        texts.push_back({text.substr(begin, end - begin), true});
        at = end;
    }
    texts.push_back({text.substr(at), false});
    return texts;
}

std::optional<Texts> behind(const Texts &beginning, const Texts &texts) {
    Texts rest = texts;
    auto next = rest.begin();
    for (const Text &piece : beginning) {
        for (size_t at = 0; at < piece.text.size();) {
            if (next == rest.end()) {
                return std::nullopt;
            }
            size_t count = std::min(piece.text.size() - at, next->text.size());
            if (count > 0 && (next->control != piece.control || piece.text.compare(at, count, next->text, 0, count) != 0)) {
                return std::nullopt;
            }
            at += count;
            next->text.erase(0, count);
            if (next->text.empty()) {
                ++next;
            }
        }
    }
    return Texts(next, rest.end());
}

} // namespace portable
