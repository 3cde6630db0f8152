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

} // namespace portable
