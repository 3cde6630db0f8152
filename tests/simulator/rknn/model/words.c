/* The words of a line. Each parser returns false for what it does not accept. */
#include "description.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool parse_whole(const char *text, long long lowest, long long highest, long long *number)
{
    char *end;
    errno = 0;
    *number = strtoll(text, &end, 10);
    return end != text && !*end && !errno && *number >= lowest && *number <= highest;
}

bool parse_real(const char *text, double *number)
{
    char *end;
    *number = strtod(text, &end);
    return end != text && !*end;
}

bool parse_bytes(const char *text, uint32_t *bytes)
{
    long long number;
    bool valid = parse_whole(text, 0, UINT32_MAX, &number);
    *bytes = (uint32_t)number;
    return valid;
}

bool copy_name(char *target, const char *name)
{
    return *name && snprintf(target, RKNN_MAX_NAME_LEN, "%s", name) < RKNN_MAX_NAME_LEN;
}

char *next_pair(char **line, char **value, bool *valid)
{
    char *word = strtok_r(NULL, " \t\r", line);
    *value = word ? strchr(word, '=') : NULL;
    if (word && !*value)
        *valid = false;
    if (!*value)
        return NULL;
    *(*value)++ = '\0';
    return word;
}

void *grow(void *items, uint32_t count, size_t size)
{
    char *grown = allocate(count + 1, size);
    if (items)
        memcpy(grown, items, count * size);
    free(items);
    return grown;
}
