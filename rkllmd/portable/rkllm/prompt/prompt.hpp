// What a run is given to read, checked and copied: the caller may free its input when rkllm_run_async returns.
#pragma once

#include "abi.hpp"
#include "chat_template.hpp"
#include "model.hpp"
#include "vocabulary.hpp"

#include <string>
#include <vector>

namespace portable {

// Rows of embeddings that lie in a grid, for models whose positions have more than one dimension.
struct Grid {
    int frames = 0, rows = 0, columns = 0;
};

// Either tokens or embedding rows.
struct Segment {
    Tokens tokens;
    std::vector<float> rows;
    size_t row_count = 0;
    Grid grid;

    size_t size() const { return rows.empty() ? tokens.size() : row_count; }
};

using Prompt = std::vector<Segment>;

size_t prompt_size(const Prompt &prompt);
// Of a prompt without rows.
Tokens all_tokens(const Prompt &prompt);

// Where the turn stands in its conversation.
enum class Turn { FIRST, NEXT, RESUMED };

class PromptReader {
  public:
    // `meant`: where in the caller's text control markers become control tokens. `bare`: no template stands around it.
    PromptReader(const Model &model, const Vocabulary &vocabulary, const ChatTemplate &chat, const Spans &meant,
                 bool bare)
        : model_(model), vocabulary_(vocabulary), chat_(chat), meant_(meant), bare_(bare) {}

    Prompt read(const RKLLMInput &input, Turn turn) const;
    // Those of an input that is text alone.
    Tokens tokens_of(const RKLLMInput &input, Turn turn) const;
    // The text of one with nothing around it, piece by piece; nothing of any other input.
    Texts bare_text(const RKLLMInput &input) const;

  private:
    Texts templated(const RKLLMInput &input, const char *text, Turn turn) const;
    Prompt read_tokens(const RKLLMTokenInput &input) const;
    Prompt read_embeddings(const RKLLMEmbedInput &input) const;
    Prompt read_multimodal(const RKLLMInput &input, Turn turn) const;
    Segment copy_rows(const float *rows, size_t count, const char *what) const;
    Grid grid_of(size_t frames, size_t tokens, size_t width, size_t height) const;

    const Model &model_;
    const Vocabulary &vocabulary_;
    const ChatTemplate &chat_;
    const Spans &meant_;
    bool bare_;
};

} // namespace portable
