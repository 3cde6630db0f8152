/* What the simulators of both libraries share. Each brings its own functions and its own Scenario, in a dialect.h;
 * these files are compiled into both:
 *
 *   scenario.c  the text in RKLLM_SIMULATOR or RKNN_SIMULATOR -> Scenario, by the table of keys in keys.c
 *   faults.c    what a scenario does to any function: print, hold, delay, fault, forced return value
 *   report.c    stderr, the trace file, the clock, strings that grow
 */
#ifndef SIMULATOR_COMMON_H
#define SIMULATOR_COMMON_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* gettid's number, memfd_create, process_vm_readv, pthread_condattr_setclock */
#endif

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Everything else is compiled with -fvisibility=hidden: the library exports what the vendor's does, and no more. */
#pragma GCC visibility push(default)
long simulator_complaints(void); /* lines that began with "SIMULATOR:" on stderr: misuse of the interface */
#pragma GCC visibility pop

/* ---- scenario ----------------------------------------------------------------------------------------------- */

typedef enum {
    ACTION_NONE,
    ACTION_FAIL,
    ACTION_HANG,
    ACTION_SEGFAULT,
    ACTION_ABORT,
    ACTION_EXIT,
    ACTION_ILLEGAL,          /* SIGILL, as of an instruction that the processor lacks */
    ACTION_ERROR,            /* rkllm_run only: RKLLM_RUN_ERROR */
    ACTION_NULL_HANDLE,      /* rkllm_init only: 0 and a NULL handle */
    ACTION_TAKES_FIRST_DOWN, /* rkllm_init only: fails, and every earlier handle is dead from then on */
    ACTION_TIMEOUT,          /* rknn_run only: RKNN_ERR_TIMEOUT */
} Action;

enum { AT_EVERY = -1, AT_NEVER = -2 };

typedef struct {
    int64_t action; /* Action */
    int64_t at;     /* n-th call from 1, or token from 0; AT_EVERY */
} Fault;

enum { LOG_STDERR, LOG_STDOUT, LOG_NONE };

/* What a Scenario holds in both dialects. Every number is an int64_t and every string a char *, so that one table of
 * offsets describes them all. */
#define COMMON_FIELDS                                    \
    atomic_int references;                               \
    char *source; /* the text it was parsed from */      \
    int64_t log;                                         \
    char *print_stdout, *print_stderr;                   \
    int64_t print_function, print_repeat, print_newline; \
    char *fault_ticket;                                  \
    Fault fault[FUNCTION_COUNT];                         \
    int64_t delay_ms[FUNCTION_COUNT], held[FUNCTION_COUNT]; \
    int64_t forced[FUNCTION_COUNT], forced_status[FUNCTION_COUNT];

#ifdef SIMULATES_RKNN
#include "rknn/dialect.h"
#else
#include "dialect.h"
#endif

extern const char *const function_names[FUNCTION_COUNT];

/* Returns the scenario in force, or NULL when its text has a mistake (said on stderr). fresh: read the environment
 * again, as every init does. A scenario in a file is read again by every call. */
Scenario *scenario_acquire(bool fresh);
Scenario *scenario_share(Scenario *scenario);
void scenario_release(Scenario *scenario);

/* ---- faults ------------------------------------------------------------------------------------------------- */

bool fault_is_due(const Scenario *scenario, const Fault *fault, int64_t position);
void act(Action action); /* returns unless the action ends or hangs the process */
void print_lines(const Scenario *scenario);
/* Waits for as long as the file exists that RKLLM_SIMULATOR_HOLD names: until the test lets the call go on. */
void hold(void);
/* Prints, waits and sleeps as the scenario wants at the start of a function's nth call, and returns the fault that is due. */
Action begin_function(const Scenario *scenario, Function function, long nth);

/* ---- strings that grow -------------------------------------------------------------------------------------- */

typedef struct {
    char *bytes; /* always ends in NUL once something was added */
    size_t length, room;
} Text;

void text_add(Text *text, const void *bytes, size_t length);
void text_print(Text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
void *allocate(size_t count, size_t size); /* zeroed; ends the process when there is no memory */
char *copy_string(const char *string);     /* NULL stays NULL */

/* ---- report ------------------------------------------------------------------------------------------------- */

int64_t now_ns(void);
void sleep_until(int64_t deadline_ns);
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
void vendor_log(const Scenario *scenario, const char *format, ...) __attribute__((format(printf, 2, 3)));
void write_all(int fd, const char *bytes, size_t length);
void trace_open(void);
void trace(const char *event, const char *name, long long value);

#endif
