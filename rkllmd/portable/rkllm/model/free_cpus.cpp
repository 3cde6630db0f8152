#include "free_cpus.hpp"

#include <algorithm>
#include <climits>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <set>
#include <string>
#include <thread>
#include <unistd.h>

namespace portable {
namespace {

// The kernel counts a processor's work in hundredths of a second: a shorter time says too little.
constexpr std::chrono::milliseconds SHORTEST{100};
// What was measured so long ago says nothing about now.
constexpr std::chrono::seconds LONGEST{2};
// Daemons and interrupts always take a little; a processor of which others use less is free.
constexpr double LITTLE = 0.3;
// What wakes up for a moment is not counted, so the least of several looks is taken.
constexpr int QUICK_LOOKS = 4;
constexpr std::chrono::microseconds BETWEEN_QUICK_LOOKS{500};

class Lines {
  public:
    explicit Lines(const char *path) : file_(fopen(path, "r")) {}
    ~Lines() {
        if (file_) {
            fclose(file_);
        }
    }
    Lines(const Lines &) = delete;
    Lines &operator=(const Lines &) = delete;

    bool next(char *line, int size) { return file_ && fgets(line, size, file_); }

  private:
    FILE *file_;
};

} // namespace

int cores_of(const cpu_set_t &cpus) {
    std::set<std::string> cores;
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
        if (!CPU_ISSET(cpu, &cpus)) {
            continue;
        }
        std::string path = "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/thread_siblings_list";
        char siblings[512];
        bool known = Lines(path.c_str()).next(siblings, sizeof siblings);
        cores.insert(known ? siblings : path);
    }
    return static_cast<int>(cores.size());
}

int allowed_by_container(const char *membership, const std::string &groups) {
    Lines lines(membership);
    char line[4096];
    std::string group;
    while (group.empty() && lines.next(line, sizeof line)) {
        if (strncmp(line, "0::/", 4) == 0) {
            group = line + 3;
            group.erase(group.find_last_not_of("/\n") + 1);
            group = "/" + group;
        }
    }
    int allowed = INT_MAX;
    // Each group also keeps to what those around it say.
    for (; !group.empty(); group.erase(group.rfind('/'))) {
        Lines limit((groups + group + "/cpu.max").c_str());
        long quota = 0, period = 0; // "max" is no number: no limit
        if (limit.next(line, sizeof line) && sscanf(line, "%ld %ld", &quota, &period) == 2 && period > 0) {
            allowed = std::min(allowed, static_cast<int>(std::max(1L, (quota + period - 1) / period)));
        }
    }
    return allowed;
}

FreeCpus::FreeCpus(const cpu_set_t &usable, int most, const char *statistics)
    : usable_(usable), most_(most), threads_(most), statistics_(statistics) {}

// How many threads of the whole machine want to run at this very moment, the caller included; 0: not known.
int FreeCpus::running_threads() const {
    Lines statistics(statistics_);
    char line[512];
    int running = 0;
    while (statistics.next(line, sizeof line) && sscanf(line, "procs_running %d", &running) != 1) {
    }
    return running;
}

int FreeCpus::least_running_threads() const {
    int least = running_threads();
    for (int look = 1; look < QUICK_LOOKS && least > 1; ++look) {
        std::this_thread::sleep_for(BETWEEN_QUICK_LOOKS);
        least = std::min(least, running_threads());
    }
    return least;
}

std::optional<FreeCpus::Look> FreeCpus::look(Clock::time_point now) const {
    Lines statistics(statistics_);
    char line[512];
    unsigned long long ticks = 0;
    bool found = false;
    while (statistics.next(line, sizeof line)) {
        int cpu = 0;
        unsigned long long user = 0, nice = 0, system = 0, idle = 0, waiting = 0, hard = 0, soft = 0, stolen = 0;
        if (sscanf(line, "cpu%d %llu %llu %llu %llu %llu %llu %llu %llu", &cpu, &user, &nice, &system, &idle, &waiting,
                   &hard, &soft, &stolen) < 8 ||
            cpu >= CPU_SETSIZE || !CPU_ISSET(cpu, &usable_)) {
            continue;
        }
        ticks += user + nice + system + hard + soft + stolen;
        found = true;
    }
    timespec own{};
    if (!found || clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &own) != 0) {
        return std::nullopt;
    }
    return Look{now, static_cast<double>(ticks) / static_cast<double>(sysconf(_SC_CLK_TCK)),
                static_cast<double>(own.tv_sec) + static_cast<double>(own.tv_nsec) / 1e9};
}

int FreeCpus::threads_beside(double others) const {
    double free = CPU_COUNT(&usable_) - std::max(0.0, others);
    return std::clamp(static_cast<int>(std::floor(free + LITTLE)), 1, most_);
}

int FreeCpus::threads(Clock::time_point now) {
    if (most_ <= 1 || (before_ && now - before_->at < SHORTEST)) {
        return threads_;
    }
    std::optional<Look> seen = look(now);
    if (!seen) {
        return threads_ = most_; // this machine does not say
    }
    if (before_ && now - before_->at <= LONGEST) {
        std::chrono::duration<double> time = now - before_->at;
        double others = (seen->busy - before_->busy) - (seen->own - before_->own);
        threads_ = threads_beside(others / time.count());
    } else {
        // Some of those that run may be on processors that are not ours.
        int elsewhere = std::max(0, static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN)) - CPU_COUNT(&usable_));
        threads_ = threads_beside(least_running_threads() - 1 - elsewhere);
    }
    before_ = seen;
    return threads_;
}

} // namespace portable
