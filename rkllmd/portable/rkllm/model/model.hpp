// The loaded GGUF file and its context in the engine.
#pragma once

#include "abi.hpp"
#include "free_cpus.hpp"
#include "llama-cpp.h"

#include <cstdint>
#include <map>
#include <sched.h>
#include <string>

namespace portable {

class Model {
  public:
    explicit Model(const RKLLMParam &param);

    llama_model *model() const { return model_.get(); }
    llama_context *context() const { return context_.get(); }
    llama_memory_t memory() const { return llama_get_memory(context_.get()); }
    const llama_vocab *vocab() const { return llama_model_get_vocab(model_.get()); }

    int entries() const { return entries_; }     // n_batch
    int context_limit() const { return limit_; } // cells of one entry
    int trained_context() const { return llama_model_n_ctx_train(model_.get()); }
    uint64_t context_bytes() const; // of all entries, about
    int batch_limit() const { return static_cast<int>(llama_n_batch(context_.get())); }
    int embedding_width() const { return llama_model_n_embd_inp(model_.get()); }
    int hidden_width() const { return llama_model_n_embd_out(model_.get()); }
    int vocabulary() const { return llama_vocab_n_tokens(vocab()); }
    bool is_encoder() const;                     // an embedding model: hidden states are all that it has
    std::string what_it_is() const;              // of an encoder, as a sentence
    bool has_2d_positions() const; // M-RoPE: an image's rows have a place in a grid
    bool can_shift() const { return llama_memory_can_shift(memory()); }

    void load_lora(const std::string &name, const std::string &path, float scale);
    bool has_lora(const std::string &name) const { return loras_.count(name) != 0; }
    void use_lora(const std::string &name); // an empty name means none

    const cpu_set_t *cpus() const { return pinned_ ? &cpus_ : nullptr; }
    int most_threads() const { return most_threads_; }
    // Leaves to others the processors that they use at the moment.
    void adapt_threads();

  private:
    struct Lora {
        llama_adapter_lora_ptr adapter;
        float scale;
    };

    void create_context(const RKLLMParam &param);
    bool is_small() const;
    int default_context() const;
    uint64_t token_bytes() const;
    void check_memory() const;
    void choose_threads(const RKLLMExtendParam &param);

    // Order matters: adapters and context go before the model they point into.
    llama_model_ptr model_;
    llama_context_ptr context_;
    std::map<std::string, Lora> loras_;
    int entries_ = 1;
    int limit_ = 0;
    bool pinned_ = false;
    cpu_set_t cpus_{};
    int most_threads_ = 1;
    FreeCpus free_cpus_;
};

// Keeps the calling thread, and the engine's threads that it starts, on the CPUs that enabled_cpus_mask names.
class Pinned {
  public:
    explicit Pinned(const cpu_set_t *cpus);
    ~Pinned();
    Pinned(const Pinned &) = delete;
    Pinned &operator=(const Pinned &) = delete;

  private:
    bool changed_ = false;
    cpu_set_t before_{};
};

} // namespace portable
