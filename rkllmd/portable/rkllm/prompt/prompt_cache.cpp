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

constexpr char MAGIC[8] = {'R', 'K', 'L', 'L', 'M', 'D', 'P', '2'};

constexpr const char *DAMAGED = "it is damaged";

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

// Against damage as well. Of a large model a state has a hundred megabytes, so it takes words instead of bytes, and four
// of them at once: the processor need not wait for one product before it begins the next.
uint64_t checksum(const uint8_t *bytes, size_t size) {
    constexpr size_t LANES = 4, WORD = sizeof(uint64_t);
    uint64_t lanes[LANES] = {1, 2, 3, 4};
    auto mix = [](uint64_t lane, uint64_t word) {
        lane = (lane ^ word) * 0x9e3779b97f4a7c15u;
        return lane << 29 | lane >> 35;
    };
    size_t at = 0;
    for (; at + LANES * WORD <= size; at += LANES * WORD) {
        uint64_t words[LANES];
        memcpy(words, bytes + at, sizeof words);
        for (size_t i = 0; i < LANES; ++i) {
            lanes[i] = mix(lanes[i], words[i]);
        }
    }
    uint64_t result = hash(bytes + at, size - at);
    for (uint64_t lane : lanes) {
        result = mix(result, lane);
    }
    return result;
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

// Throws a Failure that says why a cache that begins so and has so many bytes is none of this model.
Header read_header(const uint8_t *bytes, uint64_t size, const Model &model, const std::string &what) {
    Header header{};
    if (size >= sizeof header) {
        memcpy(&header, bytes, sizeof header);
    }
    if (memcmp(header.magic, MAGIC, sizeof MAGIC) != 0) {
        throw Failure(what + "it is no prompt cache of this runtime");
    }
    if (header.model != fingerprint(model)) {
        throw Failure(what + "it was made with another model or another version of the engine");
    }
    if (header.token_count > static_cast<uint64_t>(model.context_limit())) {
        throw Failure(what + "it holds " + std::to_string(header.token_count) + " tokens, the context " +
                      std::to_string(model.context_limit()));
    }
    uint64_t before_state = prompt_cache_size(header.token_count, 0);
    if (size < before_state || size - before_state != header.state_size) {
        throw Failure(what + DAMAGED);
    }
    return header;
}

} // namespace

size_t prompt_cache_size(size_t token_count, size_t state_size) {
    return sizeof(Header) + token_count * sizeof(llama_token) + state_size;
}

void lay_out_prompt_cache(uint8_t *bytes, const Model &model, const std::vector<llama_token> &tokens,
                          size_t state_size, const std::function<void(uint8_t *)> &write_state) {
    uint8_t *content = bytes + sizeof(Header);
    size_t token_bytes = tokens.size() * sizeof(llama_token);
    memcpy(content, tokens.data(), token_bytes);
    write_state(content + token_bytes);
    Header header{{}, fingerprint(model), tokens.size(), state_size, checksum(content, token_bytes + state_size)};
    memcpy(header.magic, MAGIC, sizeof MAGIC);
    memcpy(bytes, &header, sizeof header);
}

PromptCache parse_prompt_cache(const uint8_t *bytes, size_t size, const Model &model, const std::string &what) {
    Header header = read_header(bytes, size, model, what);
    const uint8_t *content = bytes + sizeof header;
    if (checksum(content, size - sizeof header) != header.checksum) {
        throw Failure(what + DAMAGED);
    }
    PromptCache cache{std::vector<llama_token>(header.token_count), nullptr, header.state_size};
    size_t token_bytes = header.token_count * sizeof(llama_token);
    memcpy(cache.tokens.data(), content, token_bytes);
    cache.state = content + token_bytes;
    return cache;
}

void write_prompt_cache(const std::string &path, const std::vector<uint8_t> &bytes) {
    // Written beside the target and renamed, so that nobody reads half a file.
    std::string temporary = path + "." + std::to_string(getpid()) + ".tmp";
    File file(fopen(temporary.c_str(), "wb"));
    bool written = file && write_all(file.get(), bytes.data(), bytes.size()) && fflush(file.get()) == 0 &&
                   std::rename(temporary.c_str(), path.c_str()) == 0;
    if (!written) {
        int error = errno;
        std::remove(temporary.c_str());
        throw Failure("cannot write the prompt cache " + path + ": " + strerror(error));
    }
}

std::vector<uint8_t> read_prompt_cache(const std::string &path, const Model &model, const std::string &what) {
    File file(fopen(path.c_str(), "rb"));
    struct stat status{};
    if (!file || fstat(fileno(file.get()), &status) != 0) {
        throw Failure(what + strerror(errno));
    }
    // What the file says of its size is looked at before anything of that size is made.
    std::vector<uint8_t> bytes(sizeof(Header));
    bool has_header = S_ISREG(status.st_mode) && read_all(file.get(), bytes.data(), bytes.size());
    auto size = static_cast<uint64_t>(status.st_size);
    read_header(bytes.data(), has_header ? size : 0, model, what);
    bytes.resize(size);
    if (!read_all(file.get(), bytes.data() + sizeof(Header), size - sizeof(Header))) {
        throw Failure(what + DAMAGED);
    }
    return bytes;
}

} // namespace portable
