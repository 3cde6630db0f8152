#include "prompt.hpp"

#include "log.hpp"

#include <cmath>

namespace portable {
namespace {

// Far beyond any model's embeddings, and far below where the engine's sums of squares become infinite.
constexpr float LARGEST_EMBEDDING = 1e9f;

// Images, videos or audio: so many items of so many frames of so many rows, and the texts that belong to them.
struct Media {
    const char *what;
    const char *tag;
    const float *embeddings;
    size_t items, frames, frame_rows;
    std::string start, end, content;
    size_t width, height;
    bool has_grid; // audio lies in time alone
    size_t used = 0;

    size_t item_rows() const { return frames * frame_rows; }
};

struct Tag {
    Media *media = nullptr;
    size_t begin = std::string::npos;
    size_t length = 0;
    bool explicit_content = false; // the prompt has the model's own placeholder, not our tag
};

std::string text_or_empty(const char *text) {
    return text ? text : "";
}

bool ends_with(const std::string &text, const std::string &end) {
    return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

void look_for(Tag &best, Media &media, const std::string &text, size_t from, const std::string &tag, bool content) {
    if (media.items == 0 || tag.empty()) {
        return;
    }
    size_t found = text.find(tag, from);
    if (found < best.begin) {
        best = {&media, found, tag.size(), content};
    }
}

Tag next_tag(std::vector<Media> &all, const std::string &text, size_t from) {
    Tag best;
    for (Media &media : all) {
        look_for(best, media, text, from, media.tag, false);
        look_for(best, media, text, from, media.content, true);
    }
    return best;
}

void check_media(const Media &media, size_t limit) {
    if (media.items == 0) {
        return;
    }
    if (!media.embeddings) {
        throw Failure(std::string("the ") + media.what + " embeddings are NULL");
    }
    if (media.frames == 0 || media.frame_rows == 0) {
        throw Failure(std::string("the ") + media.what + " has no embedding rows");
    }
    // Divided rather than multiplied: the product may not fit.
    if (media.frames > limit || media.frame_rows > limit / media.frames || media.items > limit / media.item_rows()) {
        throw Failure(std::string("the ") + media.what + " embeddings do not fit the context of " +
                      std::to_string(limit) + " tokens");
    }
}

std::vector<Media> media_of(const RKLLMMultiModalInput &multimodal) {
    const auto &i = multimodal.image;
    const auto &v = multimodal.video;
    const auto &a = multimodal.audio;
    return {{"image", "<image>", i.image_embed, i.n_image, 1, i.n_image_tokens, text_or_empty(i.image_start),
             text_or_empty(i.image_end), text_or_empty(i.image_content), i.image_width, i.image_height, true},
            {"video", "<video>", v.video_embed, v.n_video, v.n_frame_per_video, v.n_frame_tokens,
             text_or_empty(v.video_start), text_or_empty(v.video_end), text_or_empty(v.video_content), v.frame_width,
             v.frame_height, true},
            {"audio", "<audio>", a.audio_embed, a.n_audio, 1, a.n_audio_tokens, text_or_empty(a.audio_start),
             text_or_empty(a.audio_end), text_or_empty(a.audio_content), 0, 0, false}};
}

} // namespace

size_t prompt_size(const Prompt &prompt) {
    size_t size = 0;
    for (const Segment &segment : prompt) {
        size += segment.size();
    }
    return size;
}

Tokens all_tokens(const Prompt &prompt) {
    Tokens tokens;
    for (const Segment &segment : prompt) {
        tokens.insert(tokens.end(), segment.tokens.begin(), segment.tokens.end());
    }
    return tokens;
}

Prompt PromptReader::read(const RKLLMInput &input, Turn turn) const {
    Prompt prompt;
    switch (input.input_type) {
    case RKLLM_INPUT_PROMPT:
        if (!input.prompt_input && turn != Turn::RESUMED) {
            throw Failure("prompt_input is NULL");
        }
        prompt.push_back({tokens_of(input, turn), {}, 0, {}});
        break;
    case RKLLM_INPUT_TOKEN:
        prompt = read_tokens(input.token_input);
        break;
    case RKLLM_INPUT_EMBED:
        prompt = read_embeddings(input.embed_input);
        break;
    case RKLLM_INPUT_MULTIMODAL:
        prompt = read_multimodal(input, turn);
        break;
    default:
        throw Failure("input_type " + std::to_string(static_cast<int>(input.input_type)) + " is unknown");
    }
    size_t size = prompt_size(prompt), limit = static_cast<size_t>(model_.context_limit());
    if (size == 0 && turn != Turn::RESUMED) {
        throw Failure("the input is empty");
    }
    if (size > limit) {
        throw Failure("the prompt of " + std::to_string(size) + " tokens does not fit the context of " +
                      std::to_string(limit) + " tokens");
    }
    return prompt;
}

Tokens PromptReader::tokens_of(const RKLLMInput &input, Turn turn) const {
    return vocabulary_.encode(templated(input, input.prompt_input, turn), turn == Turn::FIRST);
}

Texts PromptReader::bare_text(const RKLLMInput &input) const {
    bool is_bare = bare_ && input.input_type == RKLLM_INPUT_PROMPT;
    return is_bare ? templated(input, input.prompt_input, Turn::FIRST) : Texts{};
}

Texts PromptReader::templated(const RKLLMInput &input, const char *text, Turn turn) const {
    std::string role = text_or_empty(input.role);
    Texts body = split(text_or_empty(text), meant_);
    if (meant_.empty() && vocabulary_.has_marker(role)) {
        throw Failure("the role holds a control marker of the model: a role is a word such as user, tool or system");
    }
    if (bare_) {
        return body;
    }
    switch (turn) {
    case Turn::FIRST:
        return chat_.first_turn(role, body, input.enable_thinking);
    case Turn::NEXT:
        return chat_.next_turn(role, body, input.enable_thinking);
    case Turn::RESUMED:
        break; // the text goes into the middle of an answer
    }
    return body;
}

Prompt PromptReader::read_tokens(const RKLLMTokenInput &input) const {
    if (!input.input_ids && input.n_tokens > 0) {
        throw Failure("input_ids is NULL");
    }
    if (input.n_tokens > static_cast<size_t>(model_.context_limit())) {
        throw Failure("the prompt of " + std::to_string(input.n_tokens) + " tokens does not fit the context of " +
                      std::to_string(model_.context_limit()) + " tokens");
    }
    Segment segment;
    segment.tokens.assign(input.input_ids, input.input_ids + input.n_tokens);
    vocabulary_.check(segment.tokens);
    return {segment};
}

Prompt PromptReader::read_embeddings(const RKLLMEmbedInput &input) const {
    return {copy_rows(input.embed, input.n_tokens, "embed")};
}

Segment PromptReader::copy_rows(const float *rows, size_t count, const char *what) const {
    if (!rows && count > 0) {
        throw Failure(std::string(what) + " is NULL");
    }
    if (count > static_cast<size_t>(model_.context_limit())) {
        throw Failure("the prompt of " + std::to_string(count) + " embeddings does not fit the context of " +
                      std::to_string(model_.context_limit()) + " tokens");
    }
    Segment segment;
    segment.row_count = count;
    segment.rows.assign(rows, rows + count * static_cast<size_t>(model_.embedding_width()));
    for (float number : segment.rows) {
        if (!(std::fabs(number) <= LARGEST_EMBEDDING)) {
            throw Failure(std::string(what) + " holds numbers that are no model's: infinite, none at all, or over 1e9");
        }
    }
    return segment;
}

Prompt PromptReader::read_multimodal(const RKLLMInput &input, Turn turn) const {
    const RKLLMMultiModalInput &multimodal = input.multimodal_input;
    if (!multimodal.prompt) {
        throw Failure("the prompt of the multimodal input is NULL");
    }
    std::vector<Media> all = media_of(multimodal);
    for (const Media &media : all) {
        check_media(media, static_cast<size_t>(model_.context_limit()));
    }

    Prompt prompt;
    Texts before;
    bool start = turn == Turn::FIRST;
    for (const Text &piece : templated(input, multimodal.prompt, turn)) {
        size_t from = 0;
        for (Tag tag = next_tag(all, piece.text, 0); tag.media; tag = next_tag(all, piece.text, from)) {
            Media &media = *tag.media;
            if (media.used == media.items) {
                throw Failure(std::string("the prompt has more ") + media.tag + " tags than there are of them (" +
                              std::to_string(media.items) + ")");
            }
            std::string text = piece.text.substr(from, tag.begin - from);
            from = tag.begin + tag.length;
            // With the model's own placeholder the prompt may have the marks around it already.
            if (tag.explicit_content && ends_with(text, media.start)) {
                text.resize(text.size() - media.start.size());
            }
            before.push_back({text, piece.control});
            before.push_back({media.start, true});
            prompt.push_back({vocabulary_.encode(before, start), {}, 0, {}});
            start = false;
            size_t rows = media.item_rows(), width = static_cast<size_t>(model_.embedding_width());
            prompt.push_back(copy_rows(media.embeddings + media.used * rows * width, rows, media.what));
            if (media.has_grid) {
                prompt.back().grid = grid_of(media.frames, media.frame_rows, media.width, media.height);
            }
            media.used++;
            before = {{media.end, true}};
            if (tag.explicit_content && piece.text.compare(from, media.end.size(), media.end) == 0) {
                from += media.end.size();
            }
        }
        before.push_back({piece.text.substr(from), piece.control});
    }
    for (const Media &media : all) {
        if (media.used < media.items) {
            throw Failure(std::to_string(media.items) + " of " + media.what + " were given, but the prompt has " +
                          std::to_string(media.used) + " " + media.tag + " tags");
        }
    }
    prompt.push_back({vocabulary_.encode(before, start), {}, 0, {}});
    return prompt;
}

// The grid has the picture's proportions and one cell per row. For models with ordinary positions it does not matter.
Grid PromptReader::grid_of(size_t frames, size_t tokens, size_t width, size_t height) const {
    if (!model_.has_2d_positions()) {
        return {};
    }
    if (width == 0 || height == 0) {
        throw Failure("this model places image embeddings in a grid (M-RoPE): the width and height of the image are "
                      "needed");
    }
    double cell = std::sqrt(static_cast<double>(width) * static_cast<double>(height) / static_cast<double>(tokens));
    auto columns = static_cast<size_t>(std::lround(static_cast<double>(width) / cell));
    size_t rows = columns ? tokens / columns : 0;
    if (columns == 0 || rows * columns != tokens) {
        throw Failure(std::to_string(tokens) + " image embeddings make no grid of the proportions " +
                      std::to_string(width) + " x " + std::to_string(height) + " (M-RoPE)");
    }
    return {static_cast<int>(frames), static_cast<int>(rows), static_cast<int>(columns)};
}

} // namespace portable
