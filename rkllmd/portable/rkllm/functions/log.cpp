#include "log.hpp"

#include "llama.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>

namespace portable {
namespace {

// Loads and runs of different handles may fail at the same time; each happens wholly on one thread.
thread_local std::string first_error;

void print(FILE *stream, char level, const char *format, va_list arguments) {
    char line[1024];
    vsnprintf(line, sizeof line, format, arguments);
    for (char *c = line; *c; ++c) { // a path or an engine's message may hold anything; an event is one line
        *c = static_cast<unsigned char>(*c) < ' ' ? ' ' : *c;
    }
    // One call per line, so that lines of several threads do not mix.
    fprintf(stream, "%c rkllm: %s\n", level, line);
    fflush(stream);
}

void keep_error(ggml_log_level level, const char *text, void *) {
    if (level != GGML_LOG_LEVEL_ERROR || !first_error.empty()) {
        return;
    }
    first_error = text;
    while (!first_error.empty() && (first_error.back() == '\n' || first_error.back() == ' ')) {
        first_error.pop_back();
    }
}

} // namespace

void log_error(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    print(stderr, 'E', format, arguments);
    va_end(arguments);
}

void log_warning(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    print(stderr, 'W', format, arguments);
    va_end(arguments);
}

void log_info(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    print(stdout, 'I', format, arguments);
    va_end(arguments);
}

int log_level() {
    const char *text = getenv("RKLLM_LOG_LEVEL");
    return text ? atoi(text) : 0;
}

void capture_engine_log() {
    llama_log_set(keep_error, nullptr);
}

void forget_engine_errors() {
    first_error.clear();
}

std::string engine_error() {
    return first_error.empty() ? "" : ": " + first_error;
}

} // namespace portable
