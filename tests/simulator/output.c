/* Text -> tokens. A token is a cut of N bytes (or a word), so a character may be split over several: the vendor then
 * calls back with RKLLM_RUN_WAITING until the character is whole; utf8=raw delivers the bytes as they were cut. */
#include "simulator.h"

#include <stdlib.h>
#include <string.h>

/* How many bytes the character that starts with this byte has; 1 for bytes that start none. */
static size_t character_length(unsigned char first)
{
    if (first >= 0xf0 && first <= 0xf4)
        return 4;
    if (first >= 0xe0 && first <= 0xef)
        return 3;
    if (first >= 0xc2 && first <= 0xdf)
        return 2;
    return 1;
}

/* How many of the last bytes are the beginning of a character whose rest may still come. Bytes that can never become
 * a character are not held back. */
static size_t unfinished(const char *bytes, size_t length)
{
    for (size_t back = 1; back <= 3 && back <= length; back++) {
        unsigned char byte = (unsigned char)bytes[length - back];
        if ((byte & 0xc0) == 0x80)
            continue;
        return character_length(byte) > back ? back : 0;
    }
    return 0;
}

static size_t token_length(const char *text, size_t left, int64_t tokens)
{
    if (tokens > 0)
        return (size_t)tokens < left ? (size_t)tokens : left;
    size_t word = 0;
    while (word < left && !strchr(" \n", text[word]))
        word++;
    while (word < left && strchr(" \n", text[word]))
        word++;
    return word;
}

void output_cut(Output *output, const Scenario *scenario, const char *text)
{
    size_t length = strlen(text), held = 0;
    *output = (Output){0};
    output->tokens = allocate(length, sizeof(Token));
    char *to = output->bytes = allocate(2 * length + 1, 1); /* the bytes, and one NUL per token */

    for (size_t at = 0; at < length;) {
        at += token_length(text + at, length - at, scenario->tokens);
        size_t start = held, whole = at;
        if (scenario->utf8 == UTF8_WAITING && at < length)
            whole -= unfinished(text + start, at - start);
        Token *token = &output->tokens[output->count++];
        if (whole == start) {
            *token = (Token){scenario->waiting_text == TEXT_EMPTY ? "" : NULL, RKLLM_RUN_WAITING};
            continue;
        }
        *token = (Token){to, RKLLM_RUN_NORMAL};
        memcpy(to, text + start, whole - start);
        to += whole - start + 1;
        held = whole;
    }
    output->total = output->count;
    if (output->count && __builtin_mul_overflow(output->count, scenario->repeat, &output->total))
        output->total = INT64_MAX;
}

void output_free(Output *output)
{
    free(output->tokens);
    free(output->bytes);
    *output = (Output){0};
}
