#include "run.hpp"

#include "likelihood.hpp"
#include "log.hpp"
#include "report.hpp"
#include "reuse.hpp"
#include "rows.hpp"
#include "sampling.hpp"

#include <algorithm>
#include <utility>

namespace portable {
namespace {

class Run {
  public:
    Run(Session &session, Job &job) : session_(session), job_(job) {}

    void execute();
    const Performance &performance() const { return performance_; }
    // After an error: what is in the cache is uncertain.
    void give_up();
    int call_back(std::vector<RKLLMResult> &results, LLMCallState state) const;

  private:
    struct Lane { // an entry on its way
        Lane(const Job::Entry &its_entry, llama_sampler_ptr its_sampler)
            : entry(&its_entry), sequence(its_entry.sequence), sampler(std::move(its_sampler)) {}

        const Job::Entry *entry;
        Sequence *sequence;
        llama_sampler_ptr sampler;
        llama_token token = Sequence::NO_TOKEN;
        std::string logprobs;
        std::string partial; // bytes of a character that is not whole yet
        std::string text;
        std::string said;    // all that was given out
        size_t cells_before = 0; // and what was unread, before the prompt
        llama_token unread_before = Sequence::NO_TOKEN;
        int prefilled = 0;
        int made = 0;
        bool has_dropped = false; // older cells, to make room
        bool done = false;
    };

    bool prefill();
    void begin_lane(Job::Entry &entry);
    bool reads_rows() const;
    bool read_apart();
    bool read_together();
    void has_read(Lane &lane);
    void generate();
    void remember();
    void finish_lanes();
    bool give_out();
    bool step();
    void sample(Lane &lane, int output);
    void choose(Lane &lane, const float *logits, int output);
    void deliver_rows(Rows wanted);
    Rows wanted() const;

    Session &session_;
    Job &job_;
    Performance performance_;
    std::vector<Lane> lanes_;
};

Rows Run::wanted() const {
    switch (job_.mode) {
    case RKLLM_INFER_GET_LAST_HIDDEN_LAYER:
        return Rows::HIDDEN;
    case RKLLM_INFER_GET_LOGITS:
        return Rows::LOGITS;
    case RKLLM_INFER_GENERATE:
        break;
    }
    return Rows::NONE;
}

int Run::call_back(std::vector<RKLLMResult> &results, LLMCallState state) const {
    void *userdata = job_.userdata ? job_.userdata : session_.callback.result_userdata;
    return session_.callback.result_callback(results.data(), userdata, state);
}

void Run::execute() {
    if (session_.cells_lora != job_.lora && job_.turn == Turn::FIRST) {
        session_.clear(); // cells that another adapter computed are of no use
    }
    session_.cells_lora = job_.lora;
    session_.model.use_lora(job_.lora);
    llama_set_embeddings(session_.model.context(), wanted() == Rows::HIDDEN);
    session_.rows.assign(job_.entries.size(), {});
    session_.paused = false;
    session_.reused_tokens.assign(job_.entries.size(), 0);

    performance_.start();
    bool complete = prefill();
    performance_.end_prefill();
    if (complete && !job_.save_path.empty()) {
        job_.entries.front().sequence->save(job_.save_path);
    }
    if (complete && wanted() != Rows::NONE) {
        deliver_rows(wanted());
    } else if (complete) {
        generate();
        remember();
    }
    performance_.end();
    for (const Job::Entry &entry : job_.entries) {
        entry.sequence->in_history = job_.keep_history && entry.sequence->size() > 0;
    }
}

// Notes what the cache has as text, if nothing was dropped to make room, and no character was only begun.
void Run::remember() {
    for (const Lane &lane : lanes_) {
        if (lane.entry->text.empty() || lane.has_dropped || !lane.partial.empty()) {
            continue;
        }
        Texts told = lane.entry->text;
        told.push_back({lane.said, false});
        lane.sequence->tell(std::move(told));
    }
}

bool Run::prefill() {
    for (Job::Entry &entry : job_.entries) {
        begin_lane(entry);
    }
    bool complete = reads_rows() ? read_apart() : read_together();
    for (size_t i = 0; i < lanes_.size(); ++i) {
        Lane &lane = lanes_[i];
        lane.prefilled = lane.sequence->size() - static_cast<int>(lane.cells_before);
        performance_.prefill_tokens += lane.prefilled;
        performance_.reused_tokens += session_.reused_tokens[i];
        if (!complete) {
            lane.sequence->cut(lane.cells_before);
            lane.sequence->unread = lane.unread_before;
        }
    }
    return complete;
}

// Whether there is more to read than tokens, or more wanted than the next one.
bool Run::reads_rows() const {
    auto has_rows = [](const Job::Entry &entry) {
        return std::any_of(entry.prompt.begin(), entry.prompt.end(), [](const Segment &s) { return !s.rows.empty(); });
    };
    return wanted() != Rows::NONE || std::any_of(job_.entries.begin(), job_.entries.end(), has_rows);
}

// One entry after the other. False: aborted.
bool Run::read_apart() {
    for (size_t i = 0; i < lanes_.size(); ++i) {
        Lane &lane = lanes_[i];
        if (lane.done) {
            continue;
        }
        for (const Segment &segment : lane.entry->prompt) {
            if (session_.stop || !session_.decoder.read(*lane.sequence, segment, wanted(), session_.rows[i])) {
                return false;
            }
        }
        has_read(lane);
        if (wanted() == Rows::NONE) {
            // Now, since reading the next entry's prompt takes these logits away.
            sample(lane, -1);
        }
    }
    return true;
}

// The tokens of all entries in as few steps of the engine as they fit into. False: aborted.
bool Run::read_together() {
    std::vector<Reading> readings;
    std::vector<Lane *> active;
    for (Lane &lane : lanes_) {
        if (!lane.done) {
            active.push_back(&lane);
            readings.push_back({lane.sequence, all_tokens(lane.entry->prompt)});
        }
    }
    return !session_.stop && session_.decoder.read(readings, [&](size_t reading, int output) {
        has_read(*active[reading]);
        sample(*active[reading], output);
    });
}

void Run::has_read(Lane &lane) {
    lane.sequence->unread = Sequence::NO_TOKEN;
    if (job_.turn == Turn::FIRST) {
        lane.sequence->prompt_cells = static_cast<size_t>(lane.sequence->size());
    }
}

// Makes room for what the lane is to read.
void Run::begin_lane(Job::Entry &entry) {
    Sequence &sequence = *entry.sequence;
    if (job_.turn == Turn::FIRST) {
        session_.reused_tokens[lanes_.size()] = static_cast<int>(reuse(session_, entry, wanted() != Rows::NONE));
        sequence.system_cells = entry.system_cells;
        sequence.in_history = false;
    }
    lanes_.emplace_back(entry, make_sampler(job_.sampling, session_.model.vocabulary(), entry.seed));
    Lane &lane = lanes_.back();
    lane.done = job_.turn == Turn::RESUMED && sequence.answered;
    if (job_.turn != Turn::RESUMED) {
        sequence.answer.clear();
        sequence.answered = false;
    }
    for (llama_token token : sequence.answer) {
        llama_sampler_accept(lane.sampler.get(), token);
    }
    if (!lane.done && !sequence.make_room(prompt_size(entry.prompt), session_.kept_cells(sequence))) {
        throw Failure("the prompt does not fit the context beside what is kept");
    }
    lane.cells_before = static_cast<size_t>(sequence.size());
    lane.unread_before = sequence.unread;
}

void Run::sample(Lane &lane, int output) {
    const float *logits = llama_get_logits_ith(session_.model.context(), output);
    if (!logits) {
        throw Failure("the engine has no logits");
    }
    // The sampler would abort the process over a NaN, which embeddings or an adapter from outside can cause.
    check_numbers(logits, session_.model.vocabulary());
    choose(lane, logits, output);
    if (lane.entry->logprobs && lane.token != Sequence::NO_TOKEN) {
        // Now, since what is read next takes these logits away.
        lane.logprobs = logprobs_of(session_.vocabulary, logits, session_.model.vocabulary(), lane.token,
                                    *lane.entry->logprobs);
    }
}

void Run::choose(Lane &lane, const float *logits, int output) {
    if (lane.entry->guide) {
        auto count = session_.model.vocabulary();
        std::vector<uint32_t> allowed((static_cast<size_t>(count) + 31) / 32);
        bool begins = lane.token == Sequence::NO_TOKEN;
        auto likeliest = begins ? static_cast<int32_t>(std::max_element(logits, logits + count) - logits) : -1;
        if (lane.entry->guide(lane.token, likeliest, allowed.data(), allowed.size()) != 0) {
            throw Failure("what guides the run has failed");
        }
        lane.token = sample_allowed(lane.sampler.get(), logits, count, allowed);
        return;
    }
    lane.token = llama_sampler_sample(lane.sampler.get(), session_.model.context(), output);
}

void Run::generate() {
    while (!session_.stop) {
        finish_lanes();
        if (std::all_of(lanes_.begin(), lanes_.end(), [](const Lane &lane) { return lane.done; })) {
            return;
        }
        if (!give_out() || !step()) {
            return;
        }
    }
}

void Run::finish_lanes() {
    for (Lane &lane : lanes_) {
        if (lane.done) {
            continue;
        }
        // A guide allows the end where it has to be.
        bool may_end = lane.entry->guide || !session_.param.ignore_eos_token;
        bool ended = lane.token == Sequence::NO_TOKEN || (may_end && session_.vocabulary.ends_generation(lane.token));
        if (ended) {
            lane.sequence->unread = lane.token;
        }
        lane.done = ended || (job_.max_new_tokens > 0 && lane.made >= job_.max_new_tokens);
        lane.sequence->answered = lane.done;
    }
}

// One token of each lane to the callback. False: the run ends here, paused.
bool Run::give_out() {
    std::vector<RKLLMResult> results(lanes_.size());
    session_.logprobs.assign(lanes_.size(), {});
    bool waiting = true;
    for (size_t i = 0; i < lanes_.size(); ++i) {
        Lane &lane = lanes_[i];
        results[i].token_id = Sequence::NO_TOKEN;
        if (lane.done) {
            continue;
        }
        lane.partial += session_.vocabulary.piece(lane.token, lane.entry->show_special);
        size_t whole = whole_characters(lane.partial);
        lane.text = lane.partial.substr(0, whole);
        lane.partial.erase(0, whole);
        lane.said += lane.text;
        lane.made++;
        lane.sequence->unread = lane.token;
        lane.sequence->answer.push_back(lane.token);
        performance_.generated_tokens++;
        waiting = waiting && lane.text.empty() && !lane.partial.empty();
        results[i].token_id = lane.token;
        results[i].text = lane.text.c_str();
        results[i].perf.prefill_tokens = lane.prefilled;
        session_.logprobs[i] = std::move(lane.logprobs);
    }
    session_.paused = call_back(results, waiting ? RKLLM_RUN_WAITING : RKLLM_RUN_NORMAL) == 1;
    for (size_t i = 0; i < lanes_.size() && lanes_.size() > 1; ++i) {
        lanes_[i].done = lanes_[i].done || results[i].token_id == Sequence::NO_TOKEN; // the callback wants no more of it
        lanes_[i].sequence->answered = lanes_[i].done;
    }
    return !session_.paused;
}

// Reads the given tokens and samples the next ones. False: aborted, or the context is full.
bool Run::step() {
    std::vector<Reading> readings;
    std::vector<Lane *> active;
    for (Lane &lane : lanes_) {
        bool last = job_.max_new_tokens > 0 && lane.made >= job_.max_new_tokens;
        if (lane.done || last) {
            continue; // the last token need not be read: nothing is asked after it, in this run
        }
        int before = lane.sequence->size();
        if (!lane.sequence->make_room(1, session_.kept_cells(*lane.sequence))) {
            log_warning("the context of %d tokens is full and cannot be shifted: the answer ends here",
                        session_.model.context_limit());
            return false;
        }
        lane.has_dropped = lane.has_dropped || lane.sequence->size() < before;
        readings.push_back({lane.sequence, {lane.token}});
        active.push_back(&lane);
    }
    return !session_.stop && session_.decoder.read(readings, [&](size_t reading, int output) {
        active[reading]->sequence->unread = Sequence::NO_TOKEN;
        sample(*active[reading], output);
    });
}

void Run::deliver_rows(Rows wanted) {
    std::vector<RKLLMResult> results(session_.rows.size());
    point_at_rows(session_, wanted, results);
    if (call_back(results, RKLLM_RUN_NORMAL) == 2) {
        session_.rows.clear();
        session_.rows.shrink_to_fit();
    }
}

void Run::give_up() {
    session_.rows.clear();
    session_.clear();
    // Dropped cells are masked, not erased, and a NaN left in one of them would make all later runs NaN too.
    llama_memory_clear(session_.model.memory(), true);
}

} // namespace

int execute(const std::shared_ptr<Session> &session, Claim claim, Job job) {
    session->work_here();
    std::vector<RKLLMResult> results(job.entries.size());
    LLMCallState last = RKLLM_RUN_FINISH;
    Run run(*session, job);
    try {
        Pinned pinned(session->model.cpus());
        run.execute();
    } catch (const std::exception &error) {
        log_error("rkllm_run: %s", error.what());
        run.give_up();
        last = RKLLM_RUN_ERROR;
    }
    for (RKLLMResult &result : results) {
        result.token_id = results.size() > 1 ? Sequence::NO_TOKEN : 0;
        result.perf = last == RKLLM_RUN_FINISH ? run.performance().stat() : RKLLMPerfStat{};
    }
    if (last == RKLLM_RUN_FINISH) {
        run.performance().print(session->sequences.front().size());
    }
    bool paused = session->paused;
    // Idle before the last callback, so that whoever waits for it can start the next run at once.
    session->running = false;
    claim.release();
    if (!paused) {
        run.call_back(results, last);
    }
    return last == RKLLM_RUN_FINISH ? 0 : -1;
}

int end_unread(const std::shared_ptr<Session> &session, Claim claim, void *userdata) {
    std::vector<RKLLMResult> results(session->sequences.size());
    for (RKLLMResult &result : results) {
        result.token_id = results.size() > 1 ? Sequence::NO_TOKEN : 0;
    }
    session->running = false;
    claim.release();
    session->callback.result_callback(results.data(), userdata ? userdata : session->callback.result_userdata,
                                      RKLLM_RUN_FINISH);
    return 0;
}

} // namespace portable
