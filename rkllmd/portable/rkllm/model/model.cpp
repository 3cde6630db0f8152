#include "model.hpp"

#include "log.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <sys/stat.h>
#include <thread>

namespace portable {
namespace {

// Below this size the threads of the engine wait for each other longer than they work, and overhead is all that counts.
constexpr uint64_t SMALL_MODEL_BYTES = 32u << 20;
constexpr int LARGEST_BATCH = 512;
// Unless the caller says how long the context is, it may take this part of the memory that is available beside the
// model: other programs need some too.
constexpr uint64_t CONTEXT_PART = 4;
// What the model gets even where that is more.
constexpr int SHORTEST_CONTEXT = 512;

void start_engine() {
    static std::once_flag once;
    std::call_once(once, [] {
        capture_engine_log();
        llama_backend_init();
    });
}

// The engine would say only that loading failed, and for some files it would abort.
void check_gguf(const std::string &path, const char *what) {
    struct stat status{};
    if (stat(path.c_str(), &status) != 0) {
        throw Failure("cannot open the " + std::string(what) + " " + path + ": " + strerror(errno));
    }
    if (!S_ISREG(status.st_mode)) {
        throw Failure("the " + std::string(what) + " " + path + " is not a file");
    }
    FILE *file = fopen(path.c_str(), "rb");
    if (!file) {
        throw Failure("cannot open the " + std::string(what) + " " + path + ": " + strerror(errno));
    }
    char magic[4] = {};
    size_t read = fread(magic, 1, sizeof magic, file);
    fclose(file);
    if (read != sizeof magic || memcmp(magic, "GGUF", sizeof magic) != 0) {
        throw Failure("the " + std::string(what) + " " + path +
                      " is no GGUF file (.rkllm files run on the NPU with the vendor's runtime only)");
    }
}

uint64_t available_memory() {
    FILE *file = fopen("/proc/meminfo", "r");
    if (!file) {
        return UINT64_MAX;
    }
    char line[128];
    unsigned long long kilobytes = 0;
    bool found = false;
    while (!found && fgets(line, sizeof line, file)) {
        found = sscanf(line, "MemAvailable: %llu kB", &kilobytes) == 1;
    }
    fclose(file);
    return found ? kilobytes * 1024 : UINT64_MAX;
}

// Of the KV cache, for each token.
uint64_t cell_bytes(const llama_model *model) {
    uint64_t heads = std::max(1, llama_model_n_head(model));
    uint64_t row = static_cast<uint64_t>(llama_model_n_embd(model)) / heads * llama_model_n_head_kv(model);
    return static_cast<uint64_t>(llama_model_n_layer(model)) * row * 2 * sizeof(uint16_t);
}

std::string architecture(const llama_model *model) {
    char name[64];
    int length = llama_model_meta_val_str(model, "general.architecture", name, sizeof name);
    return length > 0 ? name : "of an unknown architecture";
}

// A mapped file would be read as it is at that moment: cut short by somebody, it ends the process (SIGBUS), and written
// over, the answers are silently others. A child that only tries a file (RKLLM_PORTABLE_MAP) may map it: it can die, and
// its memory is then that of the page cache.
llama_model_params load_parameters() {
    llama_model_params parameters = llama_model_default_params();
    parameters.load_mode = getenv("RKLLM_PORTABLE_MAP") ? LLAMA_LOAD_MODE_MMAP : LLAMA_LOAD_MODE_NONE;
    return parameters;
}

} // namespace

Model::Model(const RKLLMParam &param) {
    start_engine();
    check_gguf(param.model_path, "model file");
    forget_engine_errors();
    model_.reset(llama_model_load_from_file(param.model_path, load_parameters()));
    if (!model_) {
        throw Failure("cannot load the model file " + std::string(param.model_path) + engine_error());
    }
    if (llama_model_has_encoder(model_.get()) || !llama_model_has_decoder(model_.get())) {
        throw Failure("the model has an encoder: only decoder models generate text");
    }
    if (llama_vocab_type(vocab()) == LLAMA_VOCAB_TYPE_NONE || vocabulary() <= 0) {
        throw Failure("the model has no vocabulary");
    }
    create_context(param);
}

void Model::create_context(const RKLLMParam &param) {
    entries_ = std::max<int>(1, param.extend_param.n_batch);
    if (entries_ > static_cast<int>(llama_max_parallel_sequences())) {
        throw Failure("n_batch is " + std::to_string(entries_) + ", at most " +
                      std::to_string(llama_max_parallel_sequences()) + " are possible");
    }
    if (param.max_context_len < 0) {
        throw Failure("max_context_len is negative");
    }
    int trained = trained_context();
    limit_ = param.max_context_len > 0 ? param.max_context_len : default_context();
    if (limit_ <= 1) {
        throw Failure("the context has room for " + std::to_string(limit_) + " tokens only");
    }
    if (limit_ > trained) {
        log_warning("max_context_len is %d, but the model was trained for %d tokens", limit_, trained);
    }
    check_memory();

    llama_context_params context = llama_context_default_params();
    // The engine rounds each entry's share up; limit_ stays what the caller asked for.
    context.n_ctx = static_cast<uint32_t>(limit_) * static_cast<uint32_t>(entries_);
    context.n_batch = context.n_ubatch = LARGEST_BATCH;
    context.n_seq_max = static_cast<uint32_t>(entries_);
    // One buffer for all entries, so that a prompt cache saved with one entry can be loaded into each of several. All of
    // them attend to all of it, the cells of the others masked; with a buffer for each, the engine would multiply a row
    // at a time, which takes longer: four entries of the demo model 0.74 ms a token, here 0.29 to 0.58 as they grow.
    context.kv_unified = true;
    // Hidden states are wanted for each token, not for the text as a whole.
    context.pooling_type = LLAMA_POOLING_TYPE_NONE;
    choose_threads(param.extend_param);
    context.n_threads = context.n_threads_batch = most_threads_;
    context.no_perf = true;
    // On a CPU flash attention saves memory, which matters for big models, but costs small ones half their speed.
    context.flash_attn_type = is_small() ? LLAMA_FLASH_ATTN_TYPE_DISABLED : LLAMA_FLASH_ATTN_TYPE_AUTO;
    // Ranges of old cells can be asked for again (n_keep, clear_kv_cache), so a sliding window may not drop them.
    context.swa_full = true;
    forget_engine_errors();
    context_.reset(llama_init_from_model(model_.get(), context));
    if (context_ && is_encoder()) {
        // Each token sees those behind it too, so all are read at once, and there is no position beyond the trained.
        limit_ = std::min(limit_, trained);
        context.n_ctx = context.n_batch = context.n_ubatch = static_cast<uint32_t>(limit_);
        context_.reset(llama_init_from_model(model_.get(), context));
        log_warning("%s", what_it_is().c_str());
    }
    if (!context_) {
        throw Failure("cannot create a context of " + std::to_string(limit_) + " tokens" + engine_error());
    }
    limit_ = std::min(limit_, static_cast<int>(llama_n_ctx_seq(context_.get())));
}

bool Model::is_encoder() const {
    return !llama_get_memory(context_.get());
}

std::string Model::what_it_is() const {
    return "this is an embedding model (" + architecture(model_.get()) +
           "): it generates no text and has no logits, only hidden states (mode 1, RKLLM_INFER_GET_LAST_HIDDEN_LAYER)";
}

bool Model::is_small() const {
    return llama_model_size(model_.get()) < SMALL_MODEL_BYTES;
}

uint64_t Model::context_bytes() const {
    return static_cast<uint64_t>(limit_) * static_cast<uint64_t>(entries_) * token_bytes();
}

// What a token of context takes: its cell of the KV cache, and a column in the tables of a batch's attention, which are
// one for each head unless flash attention goes without.
uint64_t Model::token_bytes() const {
    auto heads = static_cast<uint64_t>(std::max(1, llama_model_n_head(model_.get())));
    uint64_t tables = is_small() ? heads + 1 : 2;
    return cell_bytes(model_.get()) + tables * LARGEST_BATCH * sizeof(float);
}

// The engine touches the whole KV cache at once: asked for too much, the kernel would kill the process.
void Model::check_memory() const {
    uint64_t tokens = static_cast<uint64_t>(limit_) * static_cast<uint64_t>(entries_);
    uint64_t bytes = tokens * token_bytes(), available = available_memory();
    if (bytes > available) {
        throw Failure("a context of " + std::to_string(tokens) + " tokens needs " + std::to_string(bytes >> 20) +
                      " MB, but only " + std::to_string(available >> 20) + " MB of memory are available");
    }
}

// The model's own, or the largest power of two that takes no more than its part of the memory: free memory is never
// twice the same, and what was saved for one context length should fit the next time.
int Model::default_context() const {
    int trained = trained_context();
    uint64_t cell = token_bytes() * static_cast<uint64_t>(entries_);
    uint64_t room = available_memory() / CONTEXT_PART;
    if (room / cell >= static_cast<uint64_t>(std::max(0, trained))) {
        return trained;
    }
    int fits = SHORTEST_CONTEXT;
    while (static_cast<uint64_t>(fits) * 2 <= room / cell) {
        fits *= 2;
    }
    fits = std::min(fits, trained);
    log_warning("the context has %d tokens: the model's own %d would take %llu MB of memory, and a quarter of what is "
                "available is %llu MB; max_context_len sets another",
                fits, trained, static_cast<unsigned long long>(cell * static_cast<uint64_t>(trained)) >> 20,
                static_cast<unsigned long long>(room) >> 20);
    return fits;
}

void Model::choose_threads(const RKLLMExtendParam &param) {
    cpu_set_t present;
    CPU_ZERO(&present);
    if (sched_getaffinity(0, sizeof present, &present) != 0) {
        CPU_SET(0, &present);
    }
    // A mask that names a processor which this machine does not have was meant for another one.
    bool named = param.enabled_cpus_mask != 0;
    CPU_ZERO(&cpus_);
    for (int cpu = 0; cpu < 32; ++cpu) {
        if (param.enabled_cpus_mask >> cpu & 1u) {
            CPU_SET(cpu, &cpus_);
            named = named && CPU_ISSET(cpu, &present);
        }
    }
    pinned_ = named;
    const cpu_set_t &usable = pinned_ ? cpus_ : present;
    int threads = param.enabled_cpus_num > 0 ? std::min<int>(param.enabled_cpus_num, CPU_COUNT(&usable))
                                             : cores_of(usable);
    most_threads_ = is_small() ? 1 : std::clamp(threads, 1, allowed_by_container());
    free_cpus_ = FreeCpus(usable, most_threads_);
}

void Model::adapt_threads() {
    int threads = free_cpus_.threads();
    if (threads != llama_n_threads(context_.get())) {
        llama_set_n_threads(context_.get(), threads, threads);
    }
}

bool Model::has_2d_positions() const {
    llama_rope_type type = llama_model_rope_type(model_.get());
    return type == LLAMA_ROPE_TYPE_MROPE || type == LLAMA_ROPE_TYPE_IMROPE;
}

void Model::load_lora(const std::string &name, const std::string &path, float scale) {
    check_gguf(path, "LoRA file");
    forget_engine_errors();
    llama_adapter_lora_ptr adapter(llama_adapter_lora_init(model_.get(), path.c_str()));
    if (!adapter) {
        throw Failure("cannot load the LoRA file " + path + engine_error());
    }
    use_lora(""); // the context may still point at an adapter of this name
    loras_[name] = Lora{std::move(adapter), scale};
}

void Model::use_lora(const std::string &name) {
    if (name.empty()) {
        llama_set_adapters_lora(context_.get(), nullptr, 0, nullptr);
        return;
    }
    Lora &lora = loras_.at(name);
    llama_adapter_lora *adapter = lora.adapter.get();
    llama_set_adapters_lora(context_.get(), &adapter, 1, &lora.scale);
}

Pinned::Pinned(const cpu_set_t *cpus) {
    if (cpus && sched_getaffinity(0, sizeof before_, &before_) == 0) {
        changed_ = sched_setaffinity(0, sizeof *cpus, cpus) == 0;
    }
}

Pinned::~Pinned() {
    if (changed_) {
        sched_setaffinity(0, sizeof before_, &before_);
    }
}

} // namespace portable
