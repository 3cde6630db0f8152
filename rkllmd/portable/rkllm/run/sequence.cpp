#include "sequence.hpp"

#include "log.hpp"
#include "prompt_cache.hpp"

#include <algorithm>

namespace portable {

bool Sequence::has_embeddings() const {
    return std::find(tokens_.begin(), tokens_.end(), NO_TOKEN) != tokens_.end();
}

void Sequence::clear() {
    drop_all();
    forget();
}

void Sequence::forget() {
    in_history = false;
    unread = NO_TOKEN;
    told_.clear();
    answer.clear();
    answered = false;
}

void Sequence::drop_all() {
    llama_memory_seq_rm(model_.memory(), id_, -1, -1);
    tokens_.clear();
    position_ = 0;
    reusable_ = 0;
    system_cells = 0;
    prompt_cells = 0;
    changed();
}

void Sequence::cut(size_t cells) {
    if (cells >= tokens_.size()) {
        return;
    }
    // With grid positions a cell's place and its position differ as soon as there are embeddings.
    bool countable = !(model_.has_2d_positions() && has_embeddings());
    auto first = static_cast<llama_pos>(cells);
    if (cells == 0 || !countable || !llama_memory_seq_rm(model_.memory(), id_, first, -1)) {
        drop_all();
        return;
    }
    tokens_.resize(cells);
    position_ = first;
    reusable_ = std::min(reusable_, cells);
    changed();
}

void Sequence::remove(size_t start, size_t end) {
    end = std::min(end, tokens_.size());
    if (start >= end) {
        return;
    }
    if (end == tokens_.size()) {
        cut(start);
        return;
    }
    auto from = static_cast<llama_pos>(start), to = static_cast<llama_pos>(end);
    if (!model_.can_shift() || !llama_memory_seq_rm(model_.memory(), id_, from, to)) {
        throw Failure("this model's cache cannot drop a part in the middle");
    }
    llama_memory_seq_add(model_.memory(), id_, to, -1, from - to);
    tokens_.erase(tokens_.begin() + from, tokens_.begin() + to);
    position_ -= to - from;
    reusable_ = std::min(reusable_, start);
    system_cells = std::min(system_cells, start);
    changed();
}

void Sequence::drop_unread() {
    if (unread == NO_TOKEN) {
        return;
    }
    unread = NO_TOKEN;
    told_.clear();
    if (!answer.empty()) {
        answer.pop_back();
    }
}

bool Sequence::could_make_room(size_t cells, size_t keep) const {
    size_t limit = static_cast<size_t>(model_.context_limit()), used = tokens_.size();
    return used + cells <= limit || (model_.can_shift() && std::min(keep, used) + cells <= limit);
}

bool Sequence::make_room(size_t cells, size_t keep) {
    if (!could_make_room(cells, keep)) {
        return false;
    }
    size_t limit = static_cast<size_t>(model_.context_limit()), used = tokens_.size();
    if (used + cells > limit) {
        keep = std::min(keep, used);
        remove(keep, keep + std::max((used - keep) / 2, used + cells - limit));
    }
    return true;
}

void Sequence::append_token(llama_token token) {
    tokens_.push_back(token);
    position_++;
    changed();
}

void Sequence::append_embedding(llama_pos advance) {
    tokens_.push_back(NO_TOKEN);
    position_ += advance;
    changed();
}

size_t Sequence::common_prefix(const Tokens &prompt, bool all) const {
    size_t usable = std::min(all ? tokens_.size() : reusable_, prompt.empty() ? 0 : prompt.size() - 1);
    return std::min(usable, common_length(tokens_, prompt));
}

size_t Sequence::saved_size() const {
    return prompt_cache_size(tokens_.size(), llama_state_seq_get_size(model_.context(), id_));
}

void Sequence::save(uint8_t *bytes, size_t size) const {
    size_t state_size = size - prompt_cache_size(tokens_.size(), 0);
    lay_out_prompt_cache(bytes, model_, tokens_, state_size, [&](uint8_t *state) {
        if (llama_state_seq_get_data(model_.context(), state, state_size, id_) != state_size) {
            throw Failure("the engine cannot save its state");
        }
    });
}

void Sequence::save(const std::string &path) const {
    std::vector<uint8_t> bytes(saved_size());
    save(bytes.data(), bytes.size());
    write_prompt_cache(path, bytes);
}

void Sequence::load(const uint8_t *bytes, size_t size, const std::string &what) {
    PromptCache cache = parse_prompt_cache(bytes, size, model_, what);
    clear();
    forget_engine_errors();
    if (llama_state_seq_set_data(model_.context(), cache.state, cache.state_size, id_) == 0) {
        clear();
        throw Failure(what + "the engine cannot restore its state" + engine_error());
    }
    tokens_ = std::move(cache.tokens);
    position_ = static_cast<llama_pos>(tokens_.size());
    reusable_ = tokens_.size();
    changed();
}

Tokens Sequence::load(const std::string &path) {
    std::string what = "cannot load the prompt cache " + path + ": ";
    std::vector<uint8_t> bytes = read_prompt_cache(path, model_, what);
    load(bytes.data(), bytes.size(), what);
    return tokens_;
}

size_t common_length(const Tokens &a, const Tokens &b) {
    size_t most = std::min(a.size(), b.size()), length = 0;
    while (length < most && a[length] == b[length]) {
        length++;
    }
    return length;
}

} // namespace portable
