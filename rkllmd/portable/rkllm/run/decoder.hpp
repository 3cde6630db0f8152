// Feeds tokens and embeddings to the engine in batches that it accepts.
#pragma once

#include "prompt.hpp"
#include "sequence.hpp"

#include <array>
#include <functional>
#include <utility>
#include <vector>

namespace portable {

// What a run collects of each token that it reads.
enum class Rows { NONE, HIDDEN, LOGITS };

// Throws a Failure if the model has computed anything that is no number.
void check_numbers(const float *computed, int count);

// What is to be read into a sequence.
struct Reading {
    Sequence *sequence;
    Tokens tokens;
};

class Decoder {
  public:
    Decoder(Model &model, const RKLLMCallback &callback) : model_(model), callback_(callback) {}

    // Reads a segment into the sequence; afterwards the logits of its last token are there. False: aborted.
    bool read(Sequence &sequence, const Segment &segment, Rows wanted, std::vector<float> &rows);

    // Reads tokens into each of the sequences, in as few steps of the engine as they fit into. `read(n, output)` is told
    // when the n-th has all of its own, whose last one has its logits there. False: aborted.
    bool read(const std::vector<Reading> &readings, const std::function<void(size_t, int)> &read);

  private:
    struct Batch {
        Tokens tokens;
        std::vector<float> embeddings;
        std::vector<std::array<llama_pos, 4>> positions;
        std::vector<llama_seq_id> sequences;
        std::vector<int8_t> outputs;
    };

    void add_tokens(Batch &batch, const Tokens &tokens) const;
    bool decode(Batch &batch);
    void collect(const Batch &batch, Rows wanted, std::vector<float> &rows) const;

    Model &model_;
    const RKLLMCallback &callback_;
};

} // namespace portable
