#include "special_tokens.hpp"

#include <algorithm>
#include <cctype>

namespace portable {
namespace {

constexpr size_t LOOKS_FOR_STOP = 1 << 16; // every so many bytes

bool is_space(char byte) {
    return std::isspace(static_cast<unsigned char>(byte)) != 0;
}

} // namespace

SpecialTokens::SpecialTokens(const llama_vocab *vocab) {
    first_.fill(NONE);
    for (llama_token token = 0; token < llama_vocab_n_tokens(vocab); ++token) {
        if (llama_vocab_get_attr(vocab, token) & ALL_SPECIAL) {
            order_.push_back(token);
        }
    }
    auto text = [vocab](llama_token token) { return std::string(llama_vocab_get_text(vocab, token)); };
    // As the engine sorts them, by the same algorithm: which of two of one length comes first is up to that.
    std::sort(order_.begin(), order_.end(),
              [&](llama_token a, llama_token b) { return text(a).size() > text(b).size(); });
    for (size_t rank = 0; rank < order_.size(); ++rank) {
        texts_.push_back(text(order_[rank]));
        attributes_.push_back(llama_vocab_get_attr(vocab, order_[rank]));
    }
    // Shorter ones first, so that a longer one finds what it begins with.
    for (int rank = static_cast<int>(order_.size()) - 1; rank >= 0; --rank) {
        add(rank);
    }
}

void SpecialTokens::add(int rank) {
    int node = NONE, shorter = NONE;
    for (char byte : texts_[static_cast<size_t>(rank)]) {
        auto value = static_cast<unsigned char>(byte);
        int next = node == NONE ? first_[value] : child_of(node, value);
        if (next == NONE) {
            next = static_cast<int>(nodes_.size());
            int &head = node == NONE ? first_[value] : nodes_[static_cast<size_t>(node)].child;
            Node made{value, NONE, node == NONE ? NONE : head, NONE, NONE, 0};
            head = next;
            nodes_.push_back(made);
        }
        node = next;
        if (nodes_[static_cast<size_t>(node)].rank != NONE) {
            shorter = node;
        }
    }
    if (node == NONE) {
        return; // a token without text is nowhere
    }
    Node &last = nodes_[static_cast<size_t>(node)];
    last.shorter = shorter == node ? last.shorter : shorter;
    last.rank = rank;
    last.length = texts_[static_cast<size_t>(rank)].size();
}

int SpecialTokens::child_of(int node, unsigned char byte) const {
    int child = nodes_[static_cast<size_t>(node)].child;
    while (child != NONE && nodes_[static_cast<size_t>(child)].byte != byte) {
        child = nodes_[static_cast<size_t>(child)].sibling;
    }
    return child;
}

bool SpecialTokens::is_one_of(int node, int kinds) const {
    int rank = nodes_[static_cast<size_t>(node)].rank;
    if (rank == NONE) {
        return false;
    }
    // The engine looks for a token that is of two kinds as for a marker.
    int attributes = attributes_[static_cast<size_t>(rank)];
    return ((attributes & MARKERS) ? attributes & MARKERS : attributes) & kinds;
}

int SpecialTokens::longest(const std::string &text, size_t at, int kinds) const {
    int found = NONE;
    for (int node = first_[static_cast<unsigned char>(text[at])]; node != NONE;) {
        if (is_one_of(node, kinds)) {
            found = node;
        }
        node = ++at < text.size() ? child_of(node, static_cast<unsigned char>(text[at])) : NONE;
    }
    return found;
}

size_t SpecialTokens::length_at(const std::string &text, size_t at, int kinds) const {
    int node = longest(text, at, kinds);
    return node == NONE ? 0 : nodes_[static_cast<size_t>(node)].length;
}

// For each place where one begins the longest one, by nodes.
SpecialTokens::Positions SpecialTokens::candidates(const std::string &text, int kinds,
                                                   const std::atomic<bool> &stop) const {
    Positions found;
    for (size_t at = 0; at < text.size(); ++at) {
        if (at % LOOKS_FOR_STOP == 0) {
            throw_if(stop);
        }
        int node = longest(text, at, kinds);
        if (node != NONE) {
            found[nodes_[static_cast<size_t>(node)].rank].push_back(static_cast<uint32_t>(at));
        }
    }
    return found;
}

std::vector<SpecialTokens::Place> SpecialTokens::places(const std::string &text, int kinds,
                                                        const std::atomic<bool> &stop) const {
    Positions waiting = candidates(text, kinds, stop);
    std::vector<Place> found;
    std::vector<bool> taken(waiting.empty() ? 0 : text.size());
    size_t steps = 0;
    // A token that finds its bytes taken leaves the place to a shorter one, which comes later: to the map behind it.
    for (auto &[rank, positions] : waiting) {
        size_t length = texts_[static_cast<size_t>(rank)].size();
        int attributes = attributes_[static_cast<size_t>(rank)];
        std::sort(positions.begin(), positions.end());
        for (size_t begin : positions) {
            if (++steps % LOOKS_FOR_STOP == 0) {
                throw_if(stop);
            }
            size_t end = begin + length;
            if (taken[begin]) {
                continue;
            }
            // Whatever was taken before is at least as long, so it has one of the two ends.
            if (taken[end - 1]) {
                int node = longest(text, begin, kinds);
                while (node != NONE && (nodes_[static_cast<size_t>(node)].length >= length || !is_one_of(node, kinds))) {
                    node = nodes_[static_cast<size_t>(node)].shorter;
                }
                if (node != NONE) {
                    waiting[nodes_[static_cast<size_t>(node)].rank].push_back(static_cast<uint32_t>(begin));
                }
                continue;
            }
            size_t from = begin, to = end;
            while ((attributes & LLAMA_TOKEN_ATTR_LSTRIP) && from > 0 && !taken[from - 1] && is_space(text[from - 1])) {
                --from;
            }
            while ((attributes & LLAMA_TOKEN_ATTR_RSTRIP) && to < text.size() && !taken[to] && is_space(text[to])) {
                ++to;
            }
            std::fill(taken.begin() + static_cast<long>(from), taken.begin() + static_cast<long>(to), true);
            found.push_back({order_[static_cast<size_t>(rank)], begin, end, from, to});
        }
    }
    std::sort(found.begin(), found.end(), [](const Place &a, const Place &b) { return a.begin < b.begin; });
    return found;
}

} // namespace portable
