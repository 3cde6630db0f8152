#include "job.hpp"

#include "log.hpp"
#include "sampling.hpp"

#include <algorithm>
#include <sys/stat.h>

namespace portable {
namespace {

// What is asked of each entry of a run; the first is at the beginning of the inputs.
std::vector<EntryOptions> entries_of(const Session &session, const RunOptions &options) {
    if (!options.entries.empty()) {
        return options.entries;
    }
    std::vector<EntryOptions> entries(session.sequences.size(), options.all);
    uint32_t seed = options.all.seed.value_or(sampling_seed());
    for (size_t i = 0; i < entries.size(); ++i) {
        entries[i].sequence = static_cast<llama_seq_id>(i);
        entries[i].seed = seed + static_cast<uint32_t>(i);
    }
    return entries;
}

Turn turn_of(const Session &session, bool keep_history, const std::vector<EntryOptions> &entries) {
    if (std::any_of(entries.begin(), entries.end(), [](const EntryOptions &entry) { return entry.reuse; })) {
        return Turn::FIRST;
    }
    if (session.paused) {
        return Turn::RESUMED;
    }
    bool history = keep_history && std::all_of(entries.begin(), entries.end(), [&](const EntryOptions &entry) {
                       return session.sequences[static_cast<size_t>(entry.sequence)].in_history;
                   });
    return history ? Turn::NEXT : Turn::FIRST;
}

bool is_templated(RKLLMInputType type) {
    return type == RKLLM_INPUT_PROMPT || type == RKLLM_INPUT_MULTIMODAL;
}

// Whether the token that ended the answer before still has to be read: the model's own template brings it along, and so
// does a text that needs no template.
bool must_read(const Session &session, llama_token unread, bool templated, bool bare) {
    if (unread == Sequence::NO_TOKEN) {
        return false;
    }
    bool closes = bare || session.chat.closes_answers();
    return !templated || !closes || !session.vocabulary.ends_generation(unread);
}

// Of a conversation that begins as the cache has it, only the rest is made tokens and read. That finds more than a
// comparison of tokens: a model may write a text in other tokens than those that reading it gives.
bool follow(const Session &session, Job::Entry &entry) {
    const Sequence &sequence = *entry.sequence;
    std::optional<Texts> rest;
    if (!sequence.told().empty()) {
        rest = behind(sequence.told(), entry.text);
    }
    if (!rest) {
        return false;
    }
    Tokens tokens = session.vocabulary.encode(*rest, false);
    bool reads_last = must_read(session, sequence.unread, true, true);
    size_t size = static_cast<size_t>(sequence.size()) + tokens.size() + (reads_last ? 1 : 0);
    if (tokens.empty() || size > static_cast<size_t>(session.model.context_limit())) {
        return false;
    }
    if (reads_last) {
        tokens.insert(tokens.begin(), sequence.unread);
    }
    entry.prompt = {{tokens, {}, 0, {}}};
    return true;
}

Job::Entry prepare_entry(Session &session, const RKLLMInput &input, const Job &job, const EntryOptions &options) {
    PromptReader reader(session.model, session.vocabulary, session.chat, options.meant, options.bare);
    Turn turn = job.turn;
    Sequence &sequence = session.sequences[static_cast<size_t>(options.sequence)];
    Job::Entry entry;
    entry.sequence = &sequence;
    entry.reuse = options.reuse;
    entry.show_special = options.show_special || !session.param.skip_special_token;
    entry.seed = options.seed.value_or(sampling_seed());
    entry.guide = options.guide;
    entry.logprobs = options.logprobs;
    if (turn == Turn::FIRST && job.mode == RKLLM_INFER_GENERATE) {
        entry.text = reader.bare_text(input);
        entry.follows = entry.reuse && session.cells_lora == job.lora && follow(session, entry);
    }
    if (entry.follows) {
        return entry;
    }
    entry.prompt = reader.read(input, turn);
    bool templated = is_templated(input.input_type);
    if (turn == Turn::FIRST) {
        std::string system = templated && !options.bare ? session.chat.system_part() : "";
        if (!system.empty() && !entry.prompt.empty()) {
            entry.system_cells = common_length(session.vocabulary.encode({{system, true}}, true), entry.prompt.front().tokens);
        }
        return entry;
    }
    if (turn == Turn::RESUMED || must_read(session, sequence.unread, templated, options.bare)) {
        if (sequence.unread != Sequence::NO_TOKEN) { // a caller may have dropped it
            Segment unread;
            unread.tokens.push_back(sequence.unread);
            entry.prompt.insert(entry.prompt.begin(), unread);
        }
    }
    size_t size = prompt_size(entry.prompt);
    if (size == 0) {
        throw Failure("there is nothing to resume: the input and the cache are empty");
    }
    if (!sequence.could_make_room(size, session.kept_cells(sequence))) {
        throw Failure("the prompt of " + std::to_string(size) + " tokens does not fit the context of " +
                      std::to_string(session.model.context_limit()) + " tokens beside what is kept");
    }
    return entry;
}

// Throws a Failure unless the path can be that of this run's prompt cache.
std::string cache_path(const RKLLMPromptCacheParam &param, const Session &session, const Job &job) {
    const char *path = param.prompt_cache_path;
    if (!path || !*path) {
        throw Failure("a prompt cache is to be saved, but prompt_cache_path is empty");
    }
    if (session.model.is_encoder()) {
        throw Failure("an embedding model has nothing that a prompt cache could keep");
    }
    struct stat status{};
    if (stat(path, &status) == 0 && !S_ISREG(status.st_mode)) {
        throw Failure("prompt_cache_path " + std::string(path) + " is not a file");
    }
    const Prompt &prompt = job.entries.front().prompt;
    bool embedded = std::any_of(prompt.begin(), prompt.end(), [](const Segment &s) { return !s.rows.empty(); }) ||
                    (job.turn != Turn::FIRST && job.entries.front().sequence->has_embeddings());
    if (job.entries.size() > 1 || embedded) {
        throw Failure("a prompt cache holds the tokens of one prompt: n_batch must be 1 and there may be no "
                      "embeddings");
    }
    return path;
}

} // namespace

Job prepare(Session &session, const RKLLMInput *inputs, const RKLLMInferParam &param, const RunOptions &options,
            void *userdata) {
    if (param.mode < RKLLM_INFER_GENERATE || param.mode > RKLLM_INFER_GET_LOGITS) {
        throw Failure("mode " + std::to_string(static_cast<int>(param.mode)) + " is unknown");
    }
    if (session.model.is_encoder() && param.mode != RKLLM_INFER_GET_LAST_HIDDEN_LAYER) {
        throw Failure(session.model.what_it_is());
    }
    Job job;
    job.mode = param.mode;
    job.keep_history = param.keep_history != 0 && !session.model.is_encoder();
    job.max_new_tokens = param.max_new_tokens > 0 ? param.max_new_tokens : session.param.max_new_tokens;
    job.sampling = param.sampling_params ? *param.sampling_params : sampling_of(session.param);
    job.userdata = userdata;
    check_sampling(job.sampling);
    if (param.lora_params && param.lora_params->lora_adapter_name) {
        job.lora = param.lora_params->lora_adapter_name;
        if (!session.model.has_lora(job.lora)) {
            throw Failure("no LoRA adapter of the name " + job.lora + " is loaded");
        }
    }
    std::vector<EntryOptions> entries = entries_of(session, options);
    job.turn = turn_of(session, job.keep_history, entries);
    for (size_t i = 0; i < entries.size(); ++i) {
        job.entries.push_back(prepare_entry(session, inputs[i], job, entries[i]));
    }
    if (param.prompt_cache_params && param.prompt_cache_params->save_prompt_cache) {
        job.save_path = cache_path(*param.prompt_cache_params, session, job);
    }
    return job;
}

} // namespace portable
