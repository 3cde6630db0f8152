// From a turn's text to the prompt: the model's own chat template, or the caller's.
#pragma once

#include "text.hpp"

#include <string>

namespace portable {

class ChatTemplate {
  public:
    // The template of the model, a Jinja text. Without one, and with one that the engine does not know, prompts go to the
    // model bare.
    explicit ChatTemplate(const char *model_template);

    // Warns where prompts go to the model bare.
    void report() const;

    void set_custom(const char *system_prompt, const char *prefix, const char *postfix);
    void set_tools(const char *system_prompt, const char *tools, const char *response_tag);

    // "set" by rkllm_set_chat_template, the "model"'s own, or "none"; "unknown": the model has one, but it is not used.
    const char *origin() const { return custom_ ? "set" : origin_; }

    // Whether a later turn begins with what ends the answer before it.
    bool closes_answers() const { return !is_plain(); }

    // The prompt of the first turn, with the system prompt, and of a later one, which first closes the answer before.
    Texts first_turn(const std::string &role, const Texts &text, bool thinking) const;
    Texts next_turn(const std::string &role, const Texts &text, bool thinking) const;

    // What a first turn begins with: the part that rkllm_clear_kv_cache can keep.
    std::string system_part() const;

  private:
    bool is_plain() const { return custom_ || template_.empty(); } // strings around the text, or nothing at all
    std::string system_text() const;
    std::string answer_start(bool thinking) const;
    std::string render(const char *const (*messages)[2], size_t count, bool answer) const;

    std::string template_;
    const char *origin_ = "model";
    bool switches_thinking_ = false;
    bool custom_ = false;
    std::string system_prompt_, prefix_, postfix_;
    std::string tools_, response_tag_;
};

} // namespace portable
