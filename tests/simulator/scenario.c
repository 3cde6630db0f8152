/* The text in RKLLM_SIMULATOR or RKNN_SIMULATOR -> Scenario. A mistake in it is an error: a scenario that is silently
 * ignored makes a test that can't fail. */
#include "keys.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void *field(Scenario *scenario, const Key *key)
{
    return (char *)scenario + key->offset;
}

static int find_function(const char *name)
{
    for (int function = 0; function < FUNCTION_COUNT; function++)
        if (strcmp(name, function_names[function]) == 0)
            return function;
    return -1;
}

/* ---- values: each parser returns false for what it does not accept ------------------------------------------ */

static bool parse_number(const char *value, int64_t lowest, int64_t highest, int64_t *number)
{
    char *end;
    errno = 0;
    long long parsed = strtoll(value, &end, 10);
    if (end == value || *end || errno || parsed < lowest || parsed > highest)
        return false;
    *number = parsed;
    return true;
}

/* The position of value among words; an empty word holds a position that this key does not offer. */
static bool parse_word(const char *value, const char *words, int64_t *position)
{
    size_t length = strlen(value);
    for (int64_t index = 0; length > 0; index++) {
        size_t word = strcspn(words, "|");
        if (word == length && memcmp(words, value, length) == 0) {
            *position = index;
            return true;
        }
        if (!words[word])
            return false;
        words += word + 1;
    }
    return false;
}

static bool parse_fault(char *value, const char *words, Fault *fault)
{
    char *at = strchr(value, '@');
    fault->at = AT_EVERY;
    if (at)
        *at = '\0';
    bool valid = parse_word(value, words, &fault->action) && (!at || parse_number(at + 1, 0, INT64_MAX, &fault->at));
    if (at)
        *at = '@'; /* the message about a mistake shows the value whole */
    return valid;
}

static bool parse_print_function(const char *value, Scenario *scenario)
{
    scenario->print_function = find_function(value);
    return scenario->print_function >= 0;
}

static bool parse_print_at(const char *value, Scenario *scenario, int64_t *at)
{
    *at = AT_NEVER;
    if (parse_print_function(value, scenario))
        return true;
    *at = AT_EVERY;
    return strcmp(value, "every") == 0 || parse_number(value, 0, INT64_MAX, at);
}

static int hex_digit(char character)
{
    const char *digits = "0123456789abcdef";
    const char *found = character ? strchr(digits, character | 0x20) : NULL;
    return found ? (int)(found - digits) : -1;
}

/* \n \r \t \\ \; and \xNN. A NUL can't travel in a C string. */
static char *unescape(const char *value)
{
    Text text = {0};
    text_add(&text, "", 0);
    for (; *value; value++) {
        char byte = *value;
        if (byte == '\\') {
            const char *plain = "n\nr\rt\t\\\\;;";
            byte = *++value;
            if (byte == 'x' && hex_digit(value[1]) >= 0 && hex_digit(value[2]) >= 0) {
                byte = (char)(hex_digit(value[1]) * 16 + hex_digit(value[2]));
                value += 2;
            } else {
                while (*plain && *plain != byte)
                    plain += 2;
                byte = *plain ? plain[1] : '\0';
            }
            if (!byte) {
                free(text.bytes);
                return NULL;
            }
        }
        text_add(&text, &byte, 1);
    }
    return text.bytes;
}

static bool parse_string(const char *value, char **string)
{
    char *parsed = unescape(value);
    if (!parsed)
        return false;
    free(*string);
    *string = parsed;
    return true;
}

static bool parse_value(Scenario *scenario, const Key *key, char *value)
{
    void *target = field(scenario, key);
    switch (key->kind) {
    case KIND_NUMBER:
        return parse_number(value, key->lowest, key->highest, target);
    case KIND_WORD:
        return parse_word(value, key->words, target);
    case KIND_STRING:
        return parse_string(value, target);
    case KIND_FAULT:
        return parse_fault(value, key->words, target);
    case KIND_PRINT_AT:
        return parse_print_at(value, scenario, target);
    case KIND_PRINT_FUNCTION:
        return parse_print_function(value, scenario);
    case KIND_TOKENS:
        if (strcmp(value, "words") == 0) {
            *(int64_t *)target = 0;
            return true;
        }
        return parse_number(value, 1, INT_MAX, target);
    }
    return false;
}

/* delay.rkllm_run, hold.rkllm_run, return.rkllm_run, fault.rkllm_run. Returns whether name is such a key. */
static bool parse_function_key(Scenario *scenario, const char *name, char *value, bool *valid)
{
    const char *dot = strchr(name, '.');
    int function = dot ? find_function(dot + 1) : -1;
    if (function < 0)
        return false;
    if (strncmp(name, "delay.", 6) == 0) {
        *valid = parse_number(value, 0, INT_MAX, &scenario->delay_ms[function]);
    } else if (strncmp(name, "hold.", 5) == 0) {
        *valid = parse_number(value, 0, 1, &scenario->held[function]);
    } else if (strncmp(name, "fault.", 6) == 0 && !HAS_OWN_FAULT_KEY(function)) { /* init= is that of init */
        *valid = parse_fault(value, GENERAL_FAULTS, &scenario->fault[function]);
    } else if (strncmp(name, "return.", 7) == 0 && !RETURNS_NO_STATUS(function)) {
        *valid = parse_number(value, INT_MIN, INT_MAX, &scenario->forced_status[function]);
        scenario->forced[function] = true;
    } else {
        return false;
    }
    return true;
}

/* ---- the text ----------------------------------------------------------------------------------------------- */

static bool parse_pair(Scenario *scenario, char *pair)
{
    char *name = pair + strspn(pair, " \t\n");
    char *equals = strchr(name, '=');
    if (!*name)
        return true;
    if (!equals) {
        complain("scenario: '%s' has no '='", name);
        return false;
    }
    char *value = equals + 1;
    *equals = '\0';
    bool valid = false, known = parse_function_key(scenario, name, value, &valid);
    for (const Key *key = keys; !known && key < keys + key_count; key++) {
        known = strcmp(name, key->name) == 0;
        if (known)
            valid = parse_value(scenario, key, value);
    }
    if (!known)
        complain("scenario: unknown key '%s'", name);
    else if (!valid)
        complain("scenario: '%s' does not accept '%s'", name, value);
    return known && valid;
}

/* The end of the pair at text: the next separator that no backslash protects. */
static char *pair_end(char *text, char separator)
{
    while (*text && *text != separator)
        text += text[0] == '\\' && text[1] && text[1] != '\n' ? 2 : 1;
    return text;
}

static void scenario_free(Scenario *scenario)
{
    for (const Key *key = keys; key < keys + key_count; key++)
        if (key->kind == KIND_STRING)
            free(*(char **)field(scenario, key));
    free(scenario->source);
    free(scenario);
}

static Scenario *scenario_parse(const char *source, bool is_file)
{
    Scenario *scenario = allocate(1, sizeof *scenario);
    atomic_init(&scenario->references, 1);
    scenario->source = copy_string(source);
    scenario->print_function = -1;
    for (const Key *key = keys; key < keys + key_count; key++)
        if (key->kind != KIND_STRING && key->kind != KIND_FAULT)
            *(int64_t *)field(scenario, key) = key->initial;

    char *text = copy_string(source), *pair = text;
    bool valid = true, more = true;
    while (valid && more) {
        char *end = pair_end(pair, is_file ? '\n' : ';');
        more = *end != '\0';
        *end = '\0';
        if (!is_file || pair[strspn(pair, " \t")] != '#')
            valid = parse_pair(scenario, pair);
        pair = end + 1;
    }
    free(text);
    if (valid)
        return scenario;
    scenario_free(scenario);
    return NULL;
}

static char *read_file(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        complain("scenario: can't open %s: %s", path, strerror(errno));
        return NULL;
    }
    Text text = {0};
    char chunk[4096];
    ssize_t length;
    text_add(&text, "", 0);
    while ((length = read(fd, chunk, sizeof chunk)) > 0)
        text_add(&text, chunk, (size_t)length);
    close(fd);
    return text.bytes;
}

/* ---- the scenario in force ---------------------------------------------------------------------------------- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static Scenario *current;
static char *environment; /* the variable as it was at the last init */

/* Unchanged text keeps its scenario: a file costs a run one read, not one parse. */
static bool refresh(void)
{
    bool is_file = environment[0] == '@';
    char *source = is_file ? read_file(environment + 1) : copy_string(environment);
    bool same = source && current && strcmp(source, current->source) == 0;
    Scenario *parsed = source && !same ? scenario_parse(source, is_file) : NULL;
    free(source);
    if (parsed) {
        scenario_release(current);
        current = parsed;
    }
    return same || parsed;
}

Scenario *scenario_acquire(bool fresh)
{
    pthread_mutex_lock(&lock);
    if (fresh || !environment) {
        const char *value = getenv(SCENARIO_VARIABLE);
        free(environment);
        environment = copy_string(value ? value : "");
        scenario_release(current); /* the same text means something else in a file than in the environment */
        current = NULL;
    }
    Scenario *scenario = refresh() ? scenario_share(current) : NULL;
    pthread_mutex_unlock(&lock);
    return scenario;
}

Scenario *scenario_share(Scenario *scenario)
{
    atomic_fetch_add(&scenario->references, 1);
    return scenario;
}

void scenario_release(Scenario *scenario)
{
    if (scenario && atomic_fetch_sub(&scenario->references, 1) == 1)
        scenario_free(scenario);
}
