/* The table that says what a scenario may hold: keys.c fills it, scenario.c reads it. */
#ifndef SIMULATOR_KEYS_H
#define SIMULATOR_KEYS_H

#include "common.h"

typedef enum {
    KIND_NUMBER,
    KIND_WORD,
    KIND_STRING,
    KIND_TOKENS,
    KIND_FAULT,
    KIND_PRINT_AT,       /* a token, "every" or a function */
    KIND_PRINT_FUNCTION, /* a function */
} Kind;

typedef struct {
    const char *name;
    Kind kind;
    size_t offset;
    int64_t initial, lowest, highest; /* KIND_NUMBER; the others but strings and faults use initial */
    const char *words;                /* KIND_WORD, KIND_FAULT: what is accepted, separated by | */
} Key;

#define GENERAL_FAULTS "none|fail|hang|segfault|abort|exit|illegal"
#define NUMBER(name, initial, lowest, highest) \
    {#name, KIND_NUMBER, offsetof(Scenario, name), initial, lowest, highest, 0}
#define SWITCH(name, initial) NUMBER(name, initial, 0, 1)
#define WORD(name, words) {#name, KIND_WORD, offsetof(Scenario, name), 0, 0, 0, words}
#define STRING(key, name) {key, KIND_STRING, offsetof(Scenario, name), 0, 0, 0, 0}
#define FAULT(key, function, words) \
    {key, KIND_FAULT, offsetof(Scenario, fault) + FN_##function * sizeof(Fault), 0, 0, 0, words}

/* What both dialects know, but for print_at. */
#define COMMON_KEYS                        \
    WORD(log, "stderr|stdout|none"),       \
    STRING("print.stdout", print_stdout),  \
    STRING("print.stderr", print_stderr),  \
    NUMBER(print_repeat, 1, 1, INT64_MAX), \
    SWITCH(print_newline, 1),              \
    STRING("fault_ticket", fault_ticket)

extern const Key keys[];
extern const size_t key_count;

#endif
