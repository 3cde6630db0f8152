#include "chat_template.hpp"

#include "llama.h"
#include "log.hpp"

#include <vector>

namespace portable {
namespace {

// How models that can switch thinking (Qwen3 and its kin, the demo model) are told not to: the thought is given, empty.
constexpr const char *NO_THINKING = "<think>\n\n</think>\n\n";

// Stands for an earlier answer while the text between it and the next question is taken from the template.
constexpr const char *ANSWER = "\x02the answer before\x03";

// Stands for the caller's text, which then takes its place: what the caller wrote and what the template says stay apart.
// Some templates trim it; the tabs show that.
constexpr const char *BODY = "\x02the text\x03";
constexpr const char *MARGIN = "\t";

// The demo model is trained on exactly this text: rkllmd/portable/demo/text/layout.py has it too, and a test compares them.
std::string tools_prompt(const std::string &system_prompt, const std::string &tools) {
    return (system_prompt.empty() ? "" : system_prompt + "\n\n") +
           "# Tools\n\nYou may call these functions:\n<tools>\n" + tools +
           "\n</tools>\n\nTo call one, answer with <tool_call>{\"name\": <function name>, \"arguments\": <JSON "
           "object>}</tool_call>";
}

std::string text_or_empty(const char *text) {
    return text ? text : "";
}

} // namespace

ChatTemplate::ChatTemplate(const char *model_template) : template_(text_or_empty(model_template)) {
    switches_thinking_ = template_.find("enable_thinking") != std::string::npos;
    if (template_.empty()) {
        origin_ = "none";
        return;
    }
    // The engine knows the common templates by their marks; it does not interpret Jinja.
    const llama_chat_message probe{"user", "x"};
    if (llama_chat_apply_template(template_.c_str(), &probe, 1, true, nullptr, 0) < 0) {
        origin_ = "unknown";
        template_.clear();
        switches_thinking_ = false;
    }
}

void ChatTemplate::report() const {
    if (template_.empty()) {
        log_warning("the model %s: prompts go to it bare (rkllm_set_chat_template gives it one)",
                    std::string(origin_) == "none" ? "has no chat template"
                                                   : "has a chat template that llama.cpp does not know");
    }
}

void ChatTemplate::set_custom(const char *system_prompt, const char *prefix, const char *postfix) {
    custom_ = true;
    system_prompt_ = text_or_empty(system_prompt);
    prefix_ = text_or_empty(prefix);
    postfix_ = text_or_empty(postfix);
}

void ChatTemplate::set_tools(const char *system_prompt, const char *tools, const char *response_tag) {
    system_prompt_ = text_or_empty(system_prompt);
    tools_ = text_or_empty(tools);
    response_tag_ = text_or_empty(response_tag);
    // The tag's name is asked for, but "<tag>" is an easy mistake to make.
    if (response_tag_.size() > 2 && response_tag_.front() == '<' && response_tag_.back() == '>') {
        response_tag_ = response_tag_.substr(1, response_tag_.size() - 2);
    }
}

std::string ChatTemplate::system_text() const {
    return tools_.empty() ? system_prompt_ : tools_prompt(system_prompt_, tools_);
}

std::string ChatTemplate::answer_start(bool thinking) const {
    return switches_thinking_ && !thinking ? NO_THINKING : "";
}

namespace {

struct Message {
    std::string role;
    Texts text;
};

// A function's result travels as a user message between tags, which is how Hermes, Qwen and their kin are trained:
// few templates know a role of its own for it.
Message as_message(const std::string &role, const Texts &text, const std::string &response_tag) {
    if (role != "tool") {
        return {role.empty() ? "user" : role, text};
    }
    std::string tag = response_tag.empty() ? "tool_response" : response_tag;
    Texts tagged{{"<" + tag + ">\n", true}};
    tagged.insert(tagged.end(), text.begin(), text.end());
    tagged.push_back({"\n</" + tag + ">", true});
    return {"user", tagged};
}

bool is_space(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

void trim(Texts &texts) {
    for (Text &text : texts) {
        size_t spaces = 0;
        while (spaces < text.text.size() && is_space(text.text[spaces])) {
            ++spaces;
        }
        text.text.erase(0, spaces);
        if (!text.text.empty()) {
            break;
        }
    }
    for (auto text = texts.rbegin(); text != texts.rend(); ++text) {
        while (!text->text.empty() && is_space(text->text.back())) {
            text->text.pop_back();
        }
        if (!text->text.empty()) {
            break;
        }
    }
}

Texts around(const std::string &before, const Texts &body, const std::string &after) {
    Texts texts{{before, true}};
    texts.insert(texts.end(), body.begin(), body.end());
    texts.push_back({after, true});
    return texts;
}

// Puts the body into a text that was rendered with what stands for it.
Texts with_body(const std::string &rendered, Texts body) {
    std::string whole = std::string(MARGIN) + BODY + MARGIN;
    size_t place = rendered.find(whole), length = whole.size();
    if (place == std::string::npos) {
        trim(body);
        place = rendered.find(BODY);
        length = std::string(BODY).size();
    }
    if (place == std::string::npos) {
        throw Failure("the model's chat template leaves the text out");
    }
    return around(rendered.substr(0, place), body, rendered.substr(place + length));
}

} // namespace

Texts ChatTemplate::first_turn(const std::string &role, const Texts &text, bool thinking) const {
    Message message = as_message(role, text, response_tag_);
    if (is_plain()) {
        return around(system_part() + prefix_, message.text, postfix_);
    }
    std::string system = system_text(), body = std::string(MARGIN) + BODY + MARGIN;
    const char *const messages[][2] = {{"system", system.c_str()}, {message.role.c_str(), body.c_str()}};
    bool alone = system.empty();
    return with_body(render(messages + (alone ? 1 : 0), alone ? 1 : 2, true) + answer_start(thinking), message.text);
}

Texts ChatTemplate::next_turn(const std::string &role, const Texts &text, bool thinking) const {
    Message message = as_message(role, text, response_tag_);
    if (is_plain()) {
        return around(prefix_, message.text, postfix_);
    }
    std::string body = std::string(MARGIN) + BODY + MARGIN;
    const char *const messages[][2] = {{"user", ""}, {"assistant", ANSWER}, {message.role.c_str(), body.c_str()}};
    std::string whole = render(messages, 3, true);
    size_t answer = whole.find(ANSWER);
    if (answer == std::string::npos) {
        throw Failure("the model's chat template cannot continue a conversation");
    }
    return with_body(whole.substr(answer + std::string(ANSWER).size()) + answer_start(thinking), message.text);
}

std::string ChatTemplate::system_part() const {
    std::string system = system_text();
    if (is_plain() || system.empty()) {
        return custom_ || system.empty() ? system : system + "\n\n";
    }
    const char *const messages[][2] = {{"system", system.c_str()}};
    return render(messages, 1, false);
}

std::string ChatTemplate::render(const char *const (*messages)[2], size_t count, bool answer) const {
    std::vector<llama_chat_message> chat;
    size_t characters = 256;
    for (size_t i = 0; i < count; ++i) {
        chat.push_back({messages[i][0], messages[i][1]});
        characters += 2 * (std::string(messages[i][0]).size() + std::string(messages[i][1]).size());
    }
    std::string text(characters, '\0');
    for (int attempt = 0; attempt < 2; ++attempt) {
        int length = llama_chat_apply_template(template_.c_str(), chat.data(), chat.size(), answer, text.data(),
                                               static_cast<int>(text.size()));
        if (length < 0) {
            break;
        }
        bool fits = static_cast<size_t>(length) <= text.size();
        text.resize(static_cast<size_t>(length));
        if (fits) {
            return text;
        }
    }
    throw Failure("the model's chat template cannot be applied");
}

} // namespace portable
