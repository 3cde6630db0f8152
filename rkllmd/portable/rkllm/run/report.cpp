#include "report.hpp"

#include "log.hpp"

#include <cstdio>

namespace portable {
namespace {

// The process's peak, which is what the vendor's runtime reports too.
float peak_memory_mb() {
    FILE *file = fopen("/proc/self/status", "r");
    if (!file) {
        return 0;
    }
    char line[128];
    float kilobytes = 0;
    bool found = false;
    while (!found && fgets(line, sizeof line, file)) {
        found = sscanf(line, "VmHWM: %f", &kilobytes) == 1;
    }
    fclose(file);
    return kilobytes / 1024;
}

float milliseconds(std::chrono::steady_clock::duration time) {
    return std::chrono::duration<float, std::milli>(time).count();
}

void print_stage(const char *name, float time, int tokens) {
    float per_token = tokens > 0 ? time / static_cast<float>(tokens) : 0;
    float per_second = time > 0 ? static_cast<float>(tokens) * 1000 / time : 0;
    log_info(" %-10s %16.2f %9d %22.2f %20.2f", name, static_cast<double>(time), tokens, static_cast<double>(per_token),
             static_cast<double>(per_second));
}

} // namespace

RKLLMPerfStat Performance::stat() const {
    return {milliseconds(middle_ - begin_), prefill_tokens, milliseconds(end_ - middle_), generated_tokens,
            peak_memory_mb()};
}

void Performance::print(int cache_cells) const {
    if (log_level() < 1) {
        return;
    }
    RKLLMPerfStat result = stat();
    log_info(" %-10s %16s %9s %22s %20s", "Stage", "Total Time (ms)", "Tokens", "Time per Token (ms)",
             "Tokens per Second");
    print_stage("Prefill", result.prefill_time_ms, result.prefill_tokens);
    print_stage("Generate", result.generate_time_ms, result.generate_tokens);
    log_info(" Peak Memory Usage (MB): %.2f", static_cast<double>(result.memory_usage_mb));
    if (log_level() > 1) {
        log_info(" KV cache: %d cells, %d of them reused", cache_cells, reused_tokens);
    }
}

} // namespace portable
