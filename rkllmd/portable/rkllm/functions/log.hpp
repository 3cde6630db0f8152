// The vendor's log format: one line per event, a letter for the level, errors and warnings on stderr, the rest on
// stdout.
#pragma once

#include <stdexcept>
#include <string>

namespace portable {

// What a C function reports as -1, with a sentence that says what is wrong.
struct Failure : std::runtime_error {
    using std::runtime_error::runtime_error;
};

[[gnu::format(printf, 1, 2)]] void log_error(const char *format, ...);
[[gnu::format(printf, 1, 2)]] void log_warning(const char *format, ...);
[[gnu::format(printf, 1, 2)]] void log_info(const char *format, ...);

// RKLLM_LOG_LEVEL: 1 prints a performance table after each run, 2 the cache lengths too.
int log_level();

// Makes llama.cpp quiet and keeps its error lines, so that a failure can say in one line what the engine found.
void capture_engine_log();
void forget_engine_errors();
std::string engine_error(); // the first one since forget_engine_errors, after ": ", or nothing

} // namespace portable
