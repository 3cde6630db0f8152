// Feeds tokens and embeddings to the engine in batches that it accepts.
#pragma once

#include "prompt.hpp"
#include "sequence.hpp"

#include <array>
#include <utility>
#include <vector>

namespace portable {

// What a run collects of each token that it reads.
enum class Rows { NONE, HIDDEN, LOGITS };

// Throws a Failure if the model has computed anything that is no number.
void check_numbers(const float *computed, int count);

class Decoder {
  public:
    Decoder(Model &model, const RKLLMCallback &callback) : model_(model), callback_(callback) {}

    // Reads a segment into the sequence; afterwards the logits of its last token are there. False: aborted.
    bool read(Sequence &sequence, const Segment &segment, Rows wanted, std::vector<float> &rows);

    // Reads one token into each sequence; afterwards the logits of the n-th are those of output n. False: aborted.
    bool step(const std::vector<std::pair<Sequence *, llama_token>> &tokens);

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
