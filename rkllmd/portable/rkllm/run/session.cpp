#include "session.hpp"

#include "log.hpp"
#include "sampling.hpp"

namespace portable {

Session::Session(const RKLLMParam &init_param, const RKLLMCallback &init_callback)
    : param(init_param), callback(init_callback), model(init_param),
      vocabulary(model, callback, stop),
      chat(llama_model_chat_template(model.model(), nullptr)), decoder(model, callback) {
    param.model_path = nullptr; // the caller's text; not needed any more
    check_sampling(sampling_of(param));
    if (!model.is_encoder()) { // which was trained on bare text
        chat.report();
    }
    for (int entry = 0; entry < model.entries(); ++entry) {
        sequences.emplace_back(model, entry);
    }
    // Also asked during the engine's own work, so that a long prompt can be aborted.
    llama_set_abort_callback(
        model.context(), [](void *flag) { return static_cast<std::atomic<bool> *>(flag)->load(); }, &stop);
}

Session::~Session() {
    join_thread();
}

void Session::claim() {
    std::lock_guard<std::mutex> lock(mutex_);
    if (busy_) {
        throw Failure("the model is busy with another call");
    }
    busy_ = true;
    worker_ = std::this_thread::get_id();
}

void Session::work_here() {
    std::lock_guard<std::mutex> lock(mutex_);
    worker_ = std::this_thread::get_id();
}

bool Session::is_own_thread() {
    std::lock_guard<std::mutex> lock(mutex_);
    return busy_ && worker_ == std::this_thread::get_id();
}

void Session::release() {
    std::lock_guard<std::mutex> lock(mutex_);
    busy_ = false;
    idle_.notify_all();
}

void Session::wait_until_idle() {
    std::unique_lock<std::mutex> lock(mutex_);
    idle_.wait(lock, [this] { return !busy_; });
}

void Session::start_thread(std::function<void()> body) {
    std::thread thread(std::move(body));
    std::lock_guard<std::mutex> lock(mutex_);
    thread_ = std::move(thread);
}

void Session::join_thread() {
    std::thread ended;
    {
        std::lock_guard<std::mutex> lock(mutex_);
        ended.swap(thread_);
    }
    if (!ended.joinable()) {
        return;
    }
    // The last callback of a run may itself start the next one, or destroy the handle.
    if (ended.get_id() == std::this_thread::get_id()) {
        ended.detach();
    } else {
        ended.join();
    }
}

size_t Session::kept_cells(const Sequence &sequence) const {
    return param.n_keep < 0 ? sequence.prompt_cells : static_cast<size_t>(param.n_keep);
}

void Session::clear(bool keep_system_prompt) {
    for (Sequence &sequence : sequences) {
        size_t kept = keep_system_prompt ? sequence.system_cells : 0;
        sequence.cut(kept);
        sequence.forget();
        sequence.allow_reuse(kept);
    }
    paused = false;
}

void Session::clear_ranges(const int *start, const int *end) {
    for (const Sequence &sequence : sequences) {
        int from = start[sequence.id()], to = end[sequence.id()];
        if (from < 0 || to < from) {
            throw Failure("[" + std::to_string(from) + ", " + std::to_string(to) + ") is no range of positions");
        }
    }
    for (Sequence &sequence : sequences) {
        auto from = static_cast<size_t>(start[sequence.id()]), to = static_cast<size_t>(end[sequence.id()]);
        if (paused && to > static_cast<size_t>(sequence.size())) {
            sequence.drop_unread(); // the token that it was paused at would stand there
        }
        sequence.remove(from, to);
    }
}

} // namespace portable
