#include "decoder.hpp"

#include "log.hpp"

#include <algorithm>
#include <cmath>

namespace portable {
namespace {

constexpr int ABORTED = 2;
constexpr int CACHE_FULL = 1;

// In a grid (M-RoPE) all rows of a frame share one time, and rows and columns count from where the picture begins.
std::array<llama_pos, 4> grid_position(const Grid &grid, size_t index, llama_pos begin) {
    auto cells = static_cast<size_t>(grid.rows) * static_cast<size_t>(grid.columns);
    auto frame = static_cast<llama_pos>(index / cells);
    auto row = static_cast<llama_pos>(index % cells / static_cast<size_t>(grid.columns));
    auto column = static_cast<llama_pos>(index % static_cast<size_t>(grid.columns));
    return {begin + frame, begin + row, begin + column, 0};
}

std::array<llama_pos, 4> line_position(llama_pos position) {
    return {position, position, position, 0};
}

} // namespace

void check_numbers(const float *computed, int count) {
    int bad = 0;
    for (int i = 0; i < count; ++i) {
        bad += !(computed[i] < INFINITY);
    }
    if (bad > 0) {
        throw Failure("the model computed what is no number");
    }
}

bool Decoder::read(Sequence &sequence, const Segment &segment, Rows wanted, std::vector<float> &rows) {
    size_t total = segment.size(), most = static_cast<size_t>(model_.batch_limit());
    size_t width = static_cast<size_t>(model_.embedding_width());
    bool in_grid = segment.grid.columns > 0;
    llama_pos begin = sequence.position();
    for (size_t from = 0; from < total; from += most) {
        size_t count = std::min(most, total - from);
        Batch batch;
        if (segment.rows.empty()) {
            add_tokens(batch, Tokens(segment.tokens.begin() + static_cast<long>(from),
                                     segment.tokens.begin() + static_cast<long>(from + count)));
        } else {
            batch.embeddings.assign(segment.rows.begin() + static_cast<long>(from * width),
                                    segment.rows.begin() + static_cast<long>((from + count) * width));
        }
        for (size_t i = 0; i < count; ++i) {
            batch.positions.push_back(in_grid ? grid_position(segment.grid, from + i, begin)
                                              : line_position(begin + static_cast<llama_pos>(from + i)));
            batch.sequences.push_back(sequence.id());
            batch.outputs.push_back(wanted != Rows::NONE || from + i + 1 == total);
        }
        if (!decode(batch)) {
            return false;
        }
        for (size_t i = 0; i < count; ++i) {
            if (segment.rows.empty()) {
                sequence.append_token(segment.tokens[from + i]);
            } else {
                sequence.append_embedding(in_grid ? 0 : 1);
            }
        }
        collect(batch, wanted, rows);
    }
    if (in_grid) {
        // The text goes on behind the longest side, as these models were trained.
        sequence.advance(std::max({segment.grid.frames, segment.grid.rows, segment.grid.columns}));
    }
    return true;
}

bool Decoder::read(const std::vector<Reading> &readings, const std::function<void(size_t, int)> &read) {
    struct Token {
        size_t reading;
        size_t index;
        llama_pos position;
    };
    std::vector<Token> all;
    for (size_t n = 0; n < readings.size(); ++n) {
        llama_pos begin = readings[n].sequence->position();
        for (size_t i = 0; i < readings[n].tokens.size(); ++i) {
            all.push_back({n, i, begin + static_cast<llama_pos>(i)});
        }
    }
    size_t most = static_cast<size_t>(model_.batch_limit());
    for (size_t from = 0; from < all.size(); from += most) {
        size_t count = std::min(most, all.size() - from);
        Tokens ids;
        Batch batch;
        for (size_t at = from; at < from + count; ++at) {
            const Reading &reading = readings[all[at].reading];
            ids.push_back(reading.tokens[all[at].index]);
            batch.positions.push_back(line_position(all[at].position));
            batch.sequences.push_back(reading.sequence->id());
            batch.outputs.push_back(all[at].index + 1 == reading.tokens.size());
        }
        add_tokens(batch, ids);
        if (!decode(batch)) {
            return false;
        }
        for (size_t i = 0; i < count; ++i) {
            size_t reading = all[from + i].reading;
            readings[reading].sequence->append_token(ids[i]);
            if (batch.outputs[i]) {
                read(reading, static_cast<int>(i));
            }
        }
    }
    return true;
}

void Decoder::add_tokens(Batch &batch, const Tokens &tokens) const {
    if (!callback_.embed_callback) {
        batch.tokens = tokens;
        return;
    }
    batch.embeddings.resize(tokens.size() * static_cast<size_t>(model_.embedding_width()));
    Tokens copy = tokens; // the callback is given a pointer that it may write through
    int status = callback_.embed_callback(callback_.embed_userdata, copy.data(), copy.size(), batch.embeddings.data(),
                                          batch.embeddings.size() * sizeof(float));
    if (status != 0) {
        throw Failure("the embedding callback returned " + std::to_string(status));
    }
}

bool Decoder::decode(Batch &batch) {
    size_t count = batch.positions.size();
    bool embedded = !batch.embeddings.empty();
    // Embeddings have all dimensions of a position, dimension by dimension; tokens have one.
    size_t dimensions = embedded && model_.has_2d_positions() ? 4 : 1;
    std::vector<llama_pos> positions(count * dimensions);
    std::vector<int32_t> one(count, 1);
    std::vector<llama_seq_id *> sequences(count);
    for (size_t i = 0; i < count; ++i) {
        for (size_t d = 0; d < dimensions; ++d) {
            positions[d * count + i] = batch.positions[i][d];
        }
        sequences[i] = &batch.sequences[i];
    }
    llama_batch engine_batch{};
    engine_batch.n_tokens = static_cast<int32_t>(count);
    engine_batch.token = embedded ? nullptr : batch.tokens.data();
    engine_batch.embd = embedded ? batch.embeddings.data() : nullptr;
    engine_batch.pos = positions.data();
    engine_batch.n_seq_id = one.data();
    engine_batch.seq_id = sequences.data();
    engine_batch.logits = batch.outputs.data();
    model_.adapt_threads();
    forget_engine_errors();
    int status = llama_decode(model_.context(), engine_batch);
    if (status == ABORTED) {
        return false;
    }
    if (status == CACHE_FULL) {
        throw Failure("the KV cache is full");
    }
    if (status != 0) {
        throw Failure("the engine failed with " + std::to_string(status) + engine_error());
    }
    return true;
}

void Decoder::collect(const Batch &batch, Rows wanted, std::vector<float> &rows) const {
    if (wanted == Rows::NONE) {
        return;
    }
    int count = static_cast<int>(batch.positions.size());
    int width = wanted == Rows::HIDDEN ? model_.hidden_width() : model_.vocabulary();
    for (int i = 0; i < count; ++i) {
        const float *row = wanted == Rows::HIDDEN ? llama_get_embeddings_ith(model_.context(), i)
                                                  : llama_get_logits_ith(model_.context(), i);
        if (!row) {
            throw Failure("the engine has no result for a token");
        }
        check_numbers(row, width);
        rows.insert(rows.end(), row, row + width);
    }
}

} // namespace portable
