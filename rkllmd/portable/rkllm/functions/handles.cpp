#include "handles.hpp"

#include "log.hpp"

#include <map>
#include <mutex>

namespace portable {
namespace {

std::mutex mutex;

std::map<LLMHandle, std::shared_ptr<Session>> &sessions() {
    // Never destroyed: a thread of ours may still be working when the process ends.
    static auto *map = new std::map<LLMHandle, std::shared_ptr<Session>>;
    return *map;
}

} // namespace

LLMHandle add_handle(std::shared_ptr<Session> session) {
    std::lock_guard<std::mutex> lock(mutex);
    LLMHandle handle = session.get();
    sessions()[handle] = std::move(session);
    return handle;
}

std::shared_ptr<Session> session_of(LLMHandle handle) {
    std::lock_guard<std::mutex> lock(mutex);
    auto found = sessions().find(handle);
    if (found == sessions().end()) {
        throw Failure(handle ? "the handle is not valid" : "the handle is NULL");
    }
    return found->second;
}

std::shared_ptr<Session> remove_handle(LLMHandle handle) {
    std::shared_ptr<Session> session = session_of(handle);
    std::lock_guard<std::mutex> lock(mutex);
    if (sessions().erase(handle) == 0) {
        throw Failure("the handle is not valid"); // two calls of rkllm_destroy at once
    }
    return session;
}

} // namespace portable
