#include "prompt_cache.hpp"

#include "log.hpp"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <sys/stat.h>
#include <unistd.h>

namespace portable {
namespace {

struct Header {
    char magic[8];
    uint64_t model;
    uint64_t token_count;
    uint64_t state_size;
    uint64_t checksum;
};

constexpr char MAGIC[8] = {'R', 'K', 'L', 'L', 'M', 'D', 'P', '1'};

struct Closer {
    void operator()(FILE *file) const { fclose(file); }
};
using File = std::unique_ptr<FILE, Closer>;

// FNV-1a: against damage, not against intent.
uint64_t hash(const void *data, size_t size, uint64_t start = 0xcbf29ce484222325u) {
    const auto *bytes = static_cast<const uint8_t *>(data);
    for (size_t i = 0; i < size; ++i) {
        start = (start ^ bytes[i]) * 0x100000001b3u;
    }
    return start;
}

uint64_t checksum(const PromptCache &cache) {
    uint64_t tokens = hash(cache.tokens.data(), cache.tokens.size() * sizeof(llama_token));
    return hash(cache.state.data(), cache.state.size(), tokens);
}

// What the state's layout and meaning depend on: all the file says about the model, and the engine's version.
uint64_t fingerprint(const Model &model) {
    uint64_t result = hash(RKLLMD_ENGINE, sizeof RKLLMD_ENGINE);
    uint64_t size = llama_model_size(model.model());
    result = hash(&size, sizeof size, result);
    char text[256];
    for (int i = 0; i < llama_model_meta_count(model.model()); ++i) {
        if (llama_model_meta_val_str_by_index(model.model(), i, text, sizeof text) >= 0) {
            result = hash(text, strlen(text), result);
        }
    }
    return result;
}

bool write_all(FILE *file, const void *data, size_t size) {
    return size == 0 || fwrite(data, 1, size, file) == size;
}

bool read_all(FILE *file, void *data, size_t size) {
    return size == 0 || fread(data, 1, size, file) == size;
}

} // namespace

void write_prompt_cache(const std::string &path, const Model &model, const PromptCache &cache) {
    // Written beside the target and renamed, so that nobody reads half a file.
    std::string temporary = path + "." + std::to_string(getpid()) + ".tmp";
    Header header{{}, fingerprint(model), cache.tokens.size(), cache.state.size(), checksum(cache)};
    memcpy(header.magic, MAGIC, sizeof MAGIC);
    File file(fopen(temporary.c_str(), "wb"));
    bool written = file && write_all(file.get(), &header, sizeof header) &&
                   write_all(file.get(), cache.tokens.data(), cache.tokens.size() * sizeof(llama_token)) &&
                   write_all(file.get(), cache.state.data(), cache.state.size()) && fflush(file.get()) == 0;
    written = written && std::rename(temporary.c_str(), path.c_str()) == 0;
    if (!written) {
        int error = errno;
        std::remove(temporary.c_str());
        throw Failure("cannot write the prompt cache " + path + ": " + strerror(error));
    }
}

PromptCache read_prompt_cache(const std::string &path, const Model &model) {
    std::string what = "cannot load the prompt cache " + path + ": ";
    File file(fopen(path.c_str(), "rb"));
    struct stat status{};
    if (!file || fstat(fileno(file.get()), &status) != 0) {
        throw Failure(what + strerror(errno));
    }
    Header header{};
    if (!S_ISREG(status.st_mode) || !read_all(file.get(), &header, sizeof header) ||
        memcmp(header.magic, MAGIC, sizeof MAGIC) != 0) {
        throw Failure(what + "it is no prompt cache of this runtime");
    }
    if (header.model != fingerprint(model)) {
        throw Failure(what + "it was made with another model or another version of the engine");
    }
    if (header.token_count > static_cast<uint64_t>(model.context_limit())) {
        throw Failure(what + "it holds " + std::to_string(header.token_count) + " tokens, the context " +
                      std::to_string(model.context_limit()));
    }
    // Sizes are compared before anything of that size is made.
    uint64_t expected = sizeof header + header.token_count * sizeof(llama_token);
    auto size = static_cast<uint64_t>(status.st_size);
    PromptCache cache;
    bool whole = size >= expected && size - expected == header.state_size;
    if (whole) {
        cache.tokens.resize(header.token_count);
        cache.state.resize(header.state_size);
        whole = read_all(file.get(), cache.tokens.data(), cache.tokens.size() * sizeof(llama_token)) &&
                read_all(file.get(), cache.state.data(), cache.state.size()) && checksum(cache) == header.checksum;
    }
    if (!whole) {
        throw Failure(what + "it is damaged");
    }
    return cache;
}

} // namespace portable
