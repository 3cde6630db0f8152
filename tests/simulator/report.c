/* stderr, the trace file and the clock. Every line is one write, so that lines of several threads never mix. */
#include "common.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static atomic_long complaints;

int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

void sleep_until(int64_t deadline_ns)
{
    struct timespec deadline = {(time_t)(deadline_ns / 1000000000), (long)(deadline_ns % 1000000000)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &deadline, NULL) == EINTR) {
    }
}

void write_all(int fd, const char *bytes, size_t length)
{
    while (length > 0) {
        ssize_t written = write(fd, bytes, length);
        if (written < 0 && errno != EINTR)
            return; /* a closed stderr is the daemon's choice */
        if (written > 0) {
            bytes += written;
            length -= (size_t)written;
        }
    }
}

static void write_line(int fd, const char *start, const char *format, va_list arguments)
{
    char line[1024];
    int length = snprintf(line, sizeof line - 1, "%s", start);
    length += vsnprintf(line + length, sizeof line - 1 - (size_t)length, format, arguments);
    if (length > (int)sizeof line - 2)
        length = (int)sizeof line - 2;
    line[length++] = '\n';
    write_all(fd, line, (size_t)length);
}

void complain(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    write_line(STDERR_FILENO, "SIMULATOR: ", format, arguments);
    va_end(arguments);
    atomic_fetch_add(&complaints, 1);
}

long simulator_complaints(void)
{
    return atomic_load(&complaints);
}

void vendor_log(const Scenario *scenario, const char *format, ...)
{
    if (scenario->log == LOG_NONE)
        return;
    va_list arguments;
    va_start(arguments, format);
    write_line(scenario->log == LOG_STDOUT ? STDOUT_FILENO : STDERR_FILENO, "", format, arguments);
    va_end(arguments);
}

/* ---- trace -------------------------------------------------------------------------------------------------- */

static pthread_mutex_t trace_lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_int trace_fd = -1;
static char *trace_path;

/* Looks at the environment again at every call, so that each test of one process can have a file of its own. */
void trace_open(void)
{
    const char *path = getenv("RKLLM_SIMULATOR_TRACE");
    if (path && !*path)
        path = NULL;
    bool begins = false;
    pthread_mutex_lock(&trace_lock);
    if (path && (!trace_path || strcmp(path, trace_path) != 0)) {
        int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
        if (fd < 0) {
            complain("can't open the trace %s: %s", path, strerror(errno));
        } else if (trace_fd < 0) {
            trace_fd = fd;
            begins = true;
        } else {
            dup3(fd, trace_fd, O_CLOEXEC); /* a thread that is tracing right now never sees a closed number */
            close(fd);
        }
        free(trace_path);
        trace_path = copy_string(path);
    }
    pthread_mutex_unlock(&trace_lock);
    if (begins)
        trace("begins", "process", getpid());
}

void trace(const char *event, const char *name, long long value)
{
    static _Thread_local long thread;
    if (trace_fd < 0)
        return;
    if (thread == 0)
        thread = syscall(SYS_gettid);
    char line[160];
    int length = snprintf(line, sizeof line, "%lld %ld %s %s %lld\n", (long long)now_ns(), thread, event, name, value);
    write_all(trace_fd, line, (size_t)length);
}

/* ---- strings that grow -------------------------------------------------------------------------------------- */

void *allocate(size_t count, size_t size)
{
    void *memory = calloc(count ? count : 1, size ? size : 1);
    if (!memory) {
        complain("out of memory");
        abort();
    }
    return memory;
}

char *copy_string(const char *string)
{
    if (!string)
        return NULL;
    size_t size = strlen(string) + 1;
    return memcpy(allocate(size, 1), string, size);
}

void text_add(Text *text, const void *bytes, size_t length)
{
    if (text->length + length + 1 > text->room) {
        text->room = (text->length + length + 1) * 2;
        char *grown = realloc(text->bytes, text->room);
        if (!grown) {
            complain("out of memory");
            abort();
        }
        text->bytes = grown;
    }
    memcpy(text->bytes + text->length, bytes, length);
    text->length += length;
    text->bytes[text->length] = '\0';
}

void text_print(Text *text, const char *format, ...)
{
    char *bytes;
    va_list arguments;
    va_start(arguments, format);
    int length = vasprintf(&bytes, format, arguments);
    va_end(arguments);
    if (length < 0) {
        complain("out of memory");
        abort();
    }
    text_add(text, bytes, (size_t)length);
    free(bytes);
}
