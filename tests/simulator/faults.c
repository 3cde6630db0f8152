/* What a scenario does to any function, of whichever library. */
#include "common.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A ticket is a file that the fault uses up: so a daemon that is restarted after the crash does not meet it again. */
bool fault_is_due(const Scenario *scenario, const Fault *fault, int64_t position)
{
    if (fault->action == ACTION_NONE || (fault->at != AT_EVERY && fault->at != position))
        return false;
    return !scenario->fault_ticket || unlink(scenario->fault_ticket) == 0;
}

void act(Action action)
{
    static volatile int *volatile nowhere; /* volatile, or the compiler would see the fault coming */
    switch (action) {
    case ACTION_HANG:
        for (;;)
            pause();
    case ACTION_SEGFAULT:
        *nowhere = 0;
        return;
    case ACTION_ABORT:
        abort();
    case ACTION_EXIT:
        exit(3);
    case ACTION_ILLEGAL:
        raise(SIGILL);
        return;
    default:
        return;
    }
}

static void print_line(int fd, const char *line, const Scenario *scenario)
{
    if (!line)
        return;
    Text whole = {0};
    for (int64_t round = 0; round < scenario->print_repeat; round++)
        text_add(&whole, line, strlen(line));
    if (scenario->print_newline)
        text_add(&whole, "\n", 1);
    write_all(fd, whole.bytes, whole.length);
    free(whole.bytes);
}

void print_lines(const Scenario *scenario)
{
    print_line(STDOUT_FILENO, scenario->print_stdout, scenario);
    print_line(STDERR_FILENO, scenario->print_stderr, scenario);
}

void hold(void)
{
    const char *path = getenv("RKLLM_SIMULATOR_HOLD");
    if (!path)
        complain("scenario: RKLLM_SIMULATOR_HOLD names no file");
    while (path && access(path, F_OK) == 0)
        sleep_until(now_ns() + 1000000);
}

Action begin_function(const Scenario *scenario, Function function, long nth)
{
    if (scenario->print_function == (int64_t)function)
        print_lines(scenario);
    if (scenario->held[function])
        hold();
    if (scenario->delay_ms[function])
        sleep_until(now_ns() + scenario->delay_ms[function] * 1000000);
    const Fault *fault = &scenario->fault[function];
    return fault_is_due(scenario, fault, nth) ? (Action)fault->action : ACTION_NONE;
}
