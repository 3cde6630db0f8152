// One conversation in the KV cache; with n_batch > 1 there is one for each entry of the batch.
#pragma once

#include "model.hpp"
#include "text.hpp"
#include "vocabulary.hpp"

#include <atomic>

namespace portable {

class Sequence {
  public:
    Sequence(const Model &model, llama_seq_id id) : model_(model), id_(id) {}

    llama_seq_id id() const { return id_; }
    int size() const { return size_.load(); } // cells in use; may be asked for by any thread
    llama_pos position() const { return position_; }
    const Tokens &tokens() const { return tokens_; } // by cell; NO_TOKEN for an embedding
    bool has_embeddings() const;

    void clear();
    // Ends the conversation; the cells stay.
    void forget();
    // Keeps the first cells and drops the rest; where the engine cannot cut (recurrent models), everything goes.
    void cut(size_t cells);
    // Drops cells [start, end) and moves the later ones down.
    void remove(size_t start, size_t end);
    // Forgets the token that was given out last, if the cache does not have it yet.
    void drop_unread();
    // Makes room for more cells by dropping the older half behind the first `keep`. False if that is impossible.
    bool make_room(size_t cells, size_t keep);
    bool could_make_room(size_t cells, size_t keep) const;

    void append_token(llama_token token);
    void append_embedding(llama_pos advance);
    void advance(llama_pos positions) { position_ += positions; }

    // Number of leading tokens that the cache has already, as far as `reusable` allows, or `all` of them; one is left to
    // be decoded.
    size_t common_prefix(const Tokens &prompt, bool all) const;
    void allow_reuse(size_t cells) { reusable_ = cells; }

    // The conversation as text, what was generated included, the unread token too; nothing where that is not known. As
    // soon as the cells are others, it is not.
    const Texts &told() const { return told_; }
    void tell(Texts texts) { told_ = std::move(texts); }

    // As one piece of bytes (prompt_cache.hpp), of the size that it has now, or as a file of these.
    size_t saved_size() const;
    void save(uint8_t *bytes, size_t size) const;
    void save(const std::string &path) const;
    // Replaces the contents by what was saved; a Failure begins with `what`. Of a file, it returns the tokens.
    void load(const uint8_t *bytes, size_t size, const std::string &what);
    Tokens load(const std::string &path);

    static constexpr llama_token NO_TOKEN = -1;

    // State between runs.
    bool in_history = false;       // the next run with keep_history goes on here
    size_t system_cells = 0;       // what rkllm_clear_kv_cache keeps on demand
    size_t prompt_cells = 0;       // the first turn's prompt, which a negative n_keep keeps
    llama_token unread = NO_TOKEN; // a token that was given out, but is not in the cache
    Tokens answer;                 // so far, for the penalties of a run that resumes it
    bool answered = false;         // the answer is complete

  private:
    void drop_all();
    void changed() {
        size_.store(static_cast<int>(tokens_.size()));
        told_.clear();
    }

    const Model &model_;
    llama_seq_id id_;
    Tokens tokens_;
    Texts told_;
    llama_pos position_ = 0;
    size_t reusable_ = 0;
    std::atomic<int> size_{0};
};

// Length of the common beginning of two token lists.
size_t common_length(const Tokens &a, const Tokens &b);

} // namespace portable
