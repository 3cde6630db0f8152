// A prompt's text, in pieces: who wrote them decides what the control markers in them are.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace portable {

struct Text {
    std::string text;
    // Whether a control marker ("<|im_end|>") becomes the model's control token. So it does in a template; in what
    // somebody has typed it would let him end his own turn and speak as the system.
    bool control = false;
};

using Texts = std::vector<Text>;

// Byte offsets [begin, end), in order.
using Spans = std::vector<std::pair<size_t, size_t>>;

std::string joined(const Texts &texts);

// The caller's text, with control markers only between the given offsets.
Texts split(const std::string &text, const Spans &meant);

// What stands behind `beginning` in texts that begin so, control marker for control marker; nothing if they do not.
std::optional<Texts> behind(const Texts &beginning, const Texts &texts);

} // namespace portable
