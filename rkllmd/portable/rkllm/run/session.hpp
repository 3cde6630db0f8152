// What an LLMHandle stands for.
#pragma once

#include "chat_template.hpp"
#include "decoder.hpp"
#include "model.hpp"
#include "prompt.hpp"
#include "sequence.hpp"
#include "vocabulary.hpp"

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

namespace portable {

// Says which tokens may be next (rkllm_portable_guide).
using Guide = std::function<int(int32_t last, int32_t likeliest, uint32_t *allowed, size_t words)>;

// What the library's own functions (extension.hpp) say about one entry of the next run.
struct EntryOptions {
    llama_seq_id sequence = 0;
    std::optional<uint32_t> seed;
    Spans meant;
    bool bare = false;
    bool reuse = false;
    bool show_special = false;
    Guide guide;
    std::optional<int> logprobs; // with how many of the likeliest tokens each is told
};

struct RunOptions {
    EntryOptions all;                  // what holds for each entry, if the run has all of them
    std::vector<EntryOptions> entries; // those that were added: then it has no others

    // Those of the entry that was added last, or of all.
    EntryOptions &last() { return entries.empty() ? all : entries.back(); }
};

struct Session {
    Session(const RKLLMParam &param, const RKLLMCallback &callback);
    ~Session();

    std::atomic<bool> running{false};
    std::atomic<bool> stop{false};

    RKLLMParam param;
    RKLLMCallback callback;
    Model model;
    Vocabulary vocabulary;
    ChatTemplate chat;
    Decoder decoder;
    std::deque<Sequence> sequences; // one for each entry of the batch

    Tokens cached_prompt; // of the loaded prompt cache
    std::string cached_path;
    std::string cells_lora;               // the adapter that the cells were computed with
    std::vector<std::vector<float>> rows; // hidden states or logits, by entry, until the next run
    bool paused = false;                  // the next run goes on in the middle of the answer
    RunOptions next_run;
    std::vector<std::string> logprobs; // of the tokens that a callback is shown, by entry
    std::vector<int> reused_tokens; // that the last run has found in the cache, by entry

    // Only one function at a time works on the model. Throws a Failure when there is one already.
    void claim();
    void work_here(); // the claim has moved to the calling thread
    void release();
    void wait_until_idle();
    bool is_own_thread(); // whether the caller is the callback of a run in progress

    void start_thread(std::function<void()> body); // for a run in the background; the one before has ended
    void join_thread();

    size_t kept_cells(const Sequence &sequence) const; // n_keep
    void clear(bool keep_system_prompt = false);
    // Drops [start, end) of each entry.
    void clear_ranges(const int *start, const int *end);

  private:
    std::mutex mutex_;
    std::condition_variable idle_;
    bool busy_ = false;
    std::thread::id worker_; // who has the claim
    std::thread thread_;
};

// Claims the session for the lifetime of this object.
class Claim {
  public:
    explicit Claim(std::shared_ptr<Session> session) : session_(std::move(session)) { session_->claim(); }
    Claim(Claim &&other) noexcept = default;
    Claim &operator=(Claim &&other) = delete;
    ~Claim() { release(); }

    void release() {
        if (session_) {
            session_->release();
            session_.reset();
        }
    }

  private:
    std::shared_ptr<Session> session_;
};

} // namespace portable
