// From a turn's text to the prompt: the model's own chat template, or the caller's.
#pragma once

#include <string>

namespace portable {

class ChatTemplate {
  public:
    // The template of the model, a Jinja text; empty means ChatML.
    explicit ChatTemplate(const char *model_template);

    void set_custom(const char *system_prompt, const char *prefix, const char *postfix);
    void set_tools(const char *system_prompt, const char *tools, const char *response_tag);

    bool is_custom() const { return custom_; }

    // The prompt of the first turn, with the system prompt, and of a later one, which first closes the answer before.
    std::string first_turn(const std::string &role, const std::string &text, bool thinking) const;
    std::string next_turn(const std::string &role, const std::string &text, bool thinking) const;

    // What a first turn begins with: the part that rkllm_clear_kv_cache can keep.
    std::string system_part() const;

  private:
    std::string system_text() const;
    std::string answer_start(bool thinking) const;
    std::string render(const char *const (*messages)[2], size_t count, bool answer) const;

    std::string template_;
    bool switches_thinking_ = false;
    bool custom_ = false;
    std::string system_prompt_, prefix_, postfix_;
    std::string tools_, response_tag_;
};

} // namespace portable
