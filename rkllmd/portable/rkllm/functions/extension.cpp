#include "extension.hpp"

#include "guarded.hpp"
#include "handles.hpp"

#include <algorithm>
#include <cstdio>
#include <optional>
#include <string>
#include <vector>

using namespace portable;

namespace {

Spans spans_of(const size_t *offsets, size_t count) {
    Spans spans;
    if (count > 0) {
        require(offsets, "meant");
    }
    for (size_t i = 0; i < count; ++i) {
        spans.emplace_back(offsets[2 * i], offsets[2 * i + 1]);
    }
    return spans;
}

EntryOptions options_of(const uint32_t *seed, const size_t *meant, size_t n_meant, int flags) {
    EntryOptions options;
    if (seed) {
        options.seed = *seed;
    }
    options.meant = spans_of(meant, n_meant);
    options.bare = (flags & RKLLM_PORTABLE_BARE) != 0;
    options.reuse = (flags & RKLLM_PORTABLE_REUSE) != 0;
    options.show_special = (flags & RKLLM_PORTABLE_SHOW_SPECIAL) != 0;
    return options;
}

// A token's bytes in hexadecimal digits; none for a model without such a token.
std::string hex(const Vocabulary &vocabulary, llama_token token) {
    constexpr size_t LONGEST = 64;
    std::string text;
    for (char byte : token == LLAMA_TOKEN_NULL ? "" : vocabulary.piece(token, true)) {
        char digits[3];
        snprintf(digits, sizeof digits, "%02x", static_cast<unsigned char>(byte));
        text += digits;
    }
    return text.size() <= 2 * LONGEST ? text : "";
}

// Writes the bytes if there is room for them; returns how many they are.
int64_t give(const std::string &bytes, uint8_t *buffer, size_t size) {
    if (buffer && bytes.size() <= size) {
        bytes.copy(reinterpret_cast<char *>(buffer), bytes.size());
    }
    return static_cast<int64_t>(bytes.size());
}

} // namespace

int rkllm_portable_next_run(void *handle, const uint32_t *seed, const size_t *meant, size_t n_meant, int flags) {
    return guarded("rkllm_portable_next_run", [&] {
        std::shared_ptr<Session> session = session_of(handle);
        EntryOptions options = options_of(seed, meant, n_meant, flags);
        Claim claim(session);
        session->next_run = {std::move(options), {}};
        return 0;
    });
}

int rkllm_portable_next_entry(void *handle, int sequence, const uint32_t *seed, const size_t *meant, size_t n_meant,
                              int flags) {
    return guarded("rkllm_portable_next_entry", [&] {
        std::shared_ptr<Session> session = session_of(handle);
        EntryOptions options = options_of(seed, meant, n_meant, flags);
        options.sequence = sequence;
        Claim claim(session);
        std::vector<EntryOptions> &entries = session->next_run.entries;
        if (sequence < 0 || sequence >= session->model.entries()) {
            throw Failure("sequence " + std::to_string(sequence) + " of " + std::to_string(session->model.entries()));
        }
        if (std::any_of(entries.begin(), entries.end(),
                        [&](const EntryOptions &entry) { return entry.sequence == sequence; })) {
            throw Failure("sequence " + std::to_string(sequence) + " belongs to another entry of the run");
        }
        entries.push_back(std::move(options));
        return 0;
    });
}

int rkllm_portable_reused_tokens(void *handle, int entry) {
    return guarded("rkllm_portable_reused_tokens", [&] {
        std::shared_ptr<Session> session = session_of(handle);
        std::optional<Claim> claim;
        if (!session->is_own_thread()) { // the callback of a run, which has the claim
            claim.emplace(session);
        }
        return session->reused_tokens.at(static_cast<size_t>(entry));
    });
}

int rkllm_portable_count_tokens(void *handle, const char *text, const size_t *meant, size_t n_meant, int flags) {
    return guarded("rkllm_portable_count_tokens", [&] {
        std::shared_ptr<Session> session = session_of(handle);
        require(text, "text");
        Spans spans = spans_of(meant, n_meant);
        Claim claim(session);
        session->stop = false;
        if (flags & RKLLM_PORTABLE_PART) {
            return static_cast<int>(session->vocabulary.encode(split(text, spans), false).size());
        }
        bool bare = (flags & RKLLM_PORTABLE_BARE) != 0;
        RKLLMInput input{};
        input.input_type = RKLLM_INPUT_PROMPT;
        input.prompt_input = text;
        input.enable_thinking = (flags & RKLLM_PORTABLE_THINKING) != 0;
        PromptReader reader(session->model, session->vocabulary, session->chat, spans, bare);
        return static_cast<int>(reader.tokens_of(input, Turn::FIRST).size());
    });
}

int64_t rkllm_portable_take_state(void *handle, uint8_t *buffer, size_t size) {
    return guarded("rkllm_portable_take_state", [&] {
        std::shared_ptr<Session> session = session_of(handle);
        Claim claim(session);
        const Sequence &sequence = session->sequences.front();
        if (session->sequences.size() > 1 || sequence.size() == 0 || sequence.has_embeddings()) {
            throw Failure("the cache holds nothing that can be saved: the tokens of one conversation");
        }
        size_t needed = sequence.saved_size();
        if (buffer && needed <= size) {
            sequence.save(buffer, needed);
        }
        return static_cast<int64_t>(needed);
    });
}

int rkllm_portable_put_state(void *handle, const uint8_t *bytes, size_t size) {
    return guarded("rkllm_portable_put_state", [&] {
        std::shared_ptr<Session> session = session_of(handle);
        require(bytes, "bytes");
        Claim claim(session);
        Sequence &sequence = session->sequences.front();
        session->paused = false;
        sequence.load(bytes, size, "cannot put back what the cache held: ");
        sequence.allow_reuse(0); // who reuses it says so (RKLLM_PORTABLE_REUSE)
        return 0;
    });
}

int rkllm_portable_guide_next_run(void *handle, rkllm_portable_guide guide, void *userdata) {
    return guarded("rkllm_portable_guide_next_run", [&] {
        std::shared_ptr<Session> session = session_of(handle);
        require(reinterpret_cast<const void *>(guide), "guide");
        Claim claim(session);
        RunOptions &options = session->next_run;
        if (options.entries.empty() && session->model.entries() > 1) {
            throw Failure("all entries of a batch can't have one guide: add them one by one");
        }
        options.last().guide = [guide, userdata](int32_t last, int32_t likeliest, uint32_t *allowed, size_t words) {
            return guide(userdata, last, likeliest, allowed, words);
        };
        return 0;
    });
}

int rkllm_portable_logprobs_next_run(void *handle, int top) {
    return guarded("rkllm_portable_logprobs_next_run", [&] {
        constexpr int MOST = 20;
        std::shared_ptr<Session> session = session_of(handle);
        if (top < 0 || top > MOST) {
            throw Failure("of a token, 0 to " + std::to_string(MOST) + " others can be told, not " + std::to_string(top));
        }
        Claim claim(session);
        session->next_run.last().logprobs = top;
        return 0;
    });
}

int64_t rkllm_portable_logprobs(void *handle, int entry, uint8_t *buffer, size_t size) {
    return guarded("rkllm_portable_logprobs", [&] {
        std::shared_ptr<Session> session = session_of(handle);
        if (!session->is_own_thread()) {
            throw Failure("only the callback of a run may ask");
        }
        return give(session->logprobs.at(static_cast<size_t>(entry)), buffer, size);
    });
}

int64_t rkllm_portable_vocabulary(void *handle, uint8_t *buffer, size_t size) {
    return guarded("rkllm_portable_vocabulary", [&] {
        std::shared_ptr<Session> session = session_of(handle);
        auto count = static_cast<uint32_t>(session->model.vocabulary());
        std::vector<uint32_t> lengths;
        std::string kinds, texts;
        for (uint32_t i = 0; i < count; ++i) {
            auto token = static_cast<llama_token>(i);
            std::string piece = session->vocabulary.piece(token, false);
            bool ends = session->vocabulary.ends_generation(token);
            bool is_text = !ends && !piece.empty() && !session->vocabulary.is_marker(token);
            kinds += static_cast<char>(ends ? 1 : is_text ? 0 : 2);
            if (!is_text) {
                piece = "\xff" + std::to_string(token);
            }
            lengths.push_back(static_cast<uint32_t>(piece.size()));
            texts += piece;
        }
        size_t lengths_size = lengths.size() * sizeof(uint32_t);
        std::string all(reinterpret_cast<const char *>(&count), sizeof count);
        all.append(reinterpret_cast<const char *>(lengths.data()), lengths_size).append(kinds).append(texts);
        return give(all, buffer, size);
    });
}

int rkllm_portable_describe(void *handle, char *json, size_t size) {
    return guarded("rkllm_portable_describe", [&] {
        std::shared_ptr<Session> session = session_of(handle);
        const Model &model = session->model;
        llama_token bos = llama_vocab_bos(model.vocab()), eos = llama_vocab_eos(model.vocab());
        std::string text = "{\"context_len\":" + std::to_string(model.context_limit()) +
                           ",\"trained_context_len\":" + std::to_string(model.trained_context()) +
                           ",\"context_bytes\":" + std::to_string(model.context_bytes()) +
                           ",\"threads\":" + std::to_string(model.most_threads()) + ",\"chat_template\":\"" +
                           session->chat.origin() + "\",\"bos_token\":\"" + hex(session->vocabulary, bos) +
                           "\",\"eos_token\":\"" + hex(session->vocabulary, eos) + "\"}";
        if (json && text.size() < size) {
            text.copy(json, text.size());
            json[text.size()] = '\0';
        }
        return static_cast<int>(text.size());
    });
}

const char *rkllm_portable_engine() {
    return llama_print_system_info();
}
