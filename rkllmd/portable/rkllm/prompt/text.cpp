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
    auto next = texts.begin();
    size_t from = 0; // where in it the rest begins
    for (const Text &piece : beginning) {
        for (size_t at = 0; at < piece.text.size();) {
            if (next == texts.end()) {
                return std::nullopt;
            }
            size_t count = std::min(piece.text.size() - at, next->text.size() - from);
            if (count > 0 && (next->control != piece.control || piece.text.compare(at, count, next->text, from, count) != 0)) {
                return std::nullopt;
            }
            at += count;
            from += count;
            if (from == next->text.size()) {
                ++next;
                from = 0;
            }
        }
    }
    Texts rest(next, texts.end());
    if (from > 0) {
        rest.front().text.erase(0, from);
    }
    return rest;
}

} // namespace portable
