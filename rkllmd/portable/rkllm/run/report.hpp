// How long a run took.
#pragma once

#include "abi.hpp"

#include <chrono>

namespace portable {

class Performance {
  public:
    int prefill_tokens = 0; // read, not reused
    int reused_tokens = 0;
    int generated_tokens = 0;

    void start() { begin_ = middle_ = end_ = Clock::now(); }
    void end_prefill() { middle_ = end_ = Clock::now(); }
    void end() { end_ = Clock::now(); }

    RKLLMPerfStat stat() const;
    // The vendor's table, if RKLLM_LOG_LEVEL asks for it.
    void print(int cache_cells) const;

  private:
    using Clock = std::chrono::steady_clock;
    Clock::time_point begin_, middle_, end_;
};

} // namespace portable
