// Where a vocabulary's special tokens stand in a text, found as the engine finds them, but in linear time.
#pragma once

#include "llama-cpp.h"

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

namespace portable {

// Whoever waits for the tokens wants them no more.
struct Aborted : std::runtime_error {
    Aborted() : std::runtime_error("the run was aborted while its prompt was being tokenized") {}
};

inline void throw_if(const std::atomic<bool> &stop) {
    if (stop) {
        throw Aborted();
    }
}

// Kinds of special tokens, as bits: those that steer the model, and those that are only never split.
constexpr int MARKERS = LLAMA_TOKEN_ATTR_CONTROL | LLAMA_TOKEN_ATTR_UNKNOWN;
constexpr int ALL_SPECIAL = MARKERS | LLAMA_TOKEN_ATTR_USER_DEFINED;

class SpecialTokens {
  public:
    explicit SpecialTokens(const llama_vocab *vocab);

    // A special token in a text: the bytes of its own text, and those that it takes away, spaces beside it included.
    struct Place {
        llama_token token;
        size_t begin, end;
        size_t from, to;
    };

    // In their order. The engine looks for one token after the other, the longest first, each from the left in what the
    // ones before have left: so it is here. Throws Aborted.
    std::vector<Place> places(const std::string &text, int kinds, const std::atomic<bool> &stop) const;

    // The number of bytes of the longest one that begins there, 0 if none does.
    size_t length_at(const std::string &text, size_t at, int kinds) const;

  private:
    static constexpr int NONE = -1;

    // In a tree of texts, by their bytes.
    struct Node {
        unsigned char byte;
        int child = NONE, sibling = NONE;
        int shorter = NONE; // the longest token that this text begins with
        int rank = NONE;    // of the token with this text: which one the engine looks for first
        size_t length = 0;
    };

    using Positions = std::map<int, std::vector<uint32_t>>;

    void add(int rank);
    int child_of(int node, unsigned char byte) const;
    int longest(const std::string &text, size_t at, int kinds) const;
    bool is_one_of(int node, int kinds) const;
    Positions candidates(const std::string &text, int kinds, const std::atomic<bool> &stop) const;

    std::vector<llama_token> order_; // by rank
    std::vector<std::string> texts_;
    std::vector<int> attributes_;
    std::vector<Node> nodes_;
    std::array<int, 256> first_;
};

} // namespace portable
