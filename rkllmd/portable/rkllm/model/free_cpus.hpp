// How many processors are free for the engine's threads at the moment.
#pragma once

#include <chrono>
#include <optional>
#include <sched.h>
#include <string>

namespace portable {

// The engine's threads wait for each other hundreds of times in a token. Where one of them has to share its processor,
// all of them wait for the scheduler each time: on two processors with other work two threads are slower than one, and
// with libgomp's own spinning twenty times slower (1.5 against 34 tokens a second with 200 million parameters).
class FreeCpus {
  public:
    FreeCpus() = default;
    FreeCpus(const cpu_set_t &usable, int most, const char *statistics = "/proc/stat");

    using Clock = std::chrono::steady_clock;

    // Threads to use now, between 1 and `most`; cheap enough to be asked for each token.
    int threads(Clock::time_point now = Clock::now());

  private:
    struct Look {
        Clock::time_point at;
        double busy; // seconds of work on the usable processors since the machine started
        double own;  // seconds of work of this process
    };

    std::optional<Look> look(Clock::time_point now) const;
    int running_threads() const;
    int least_running_threads() const;
    int threads_beside(double others) const;

    cpu_set_t usable_{};
    int most_ = 1;
    int threads_ = 1;
    const char *statistics_ = "";
    std::optional<Look> before_;
};

// How many cores these processors are; two hyperthreads of one core are no faster than one of them.
int cores_of(const cpu_set_t &cpus);

// How many processors' time this process may use, as its container (cgroup, version 2) says; INT_MAX if it does not.
int allowed_by_container(const char *membership = "/proc/self/cgroup", const std::string &groups = "/sys/fs/cgroup");

} // namespace portable
