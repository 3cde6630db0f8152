/* The table of live handles, and the memory that a caller promised to leave alone. */
#include "simulator.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

/* ---- handles ------------------------------------------------------------------------------------------------ */

static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;
static Model *table;
static uintptr_t serial;

Model *model_create(void)
{
    Model *model = allocate(1, sizeof *model);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&model->wake, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&model->lock, NULL);
    model->references = 1; /* the table's */

    pthread_mutex_lock(&table_lock);
    model->handle = (LLMHandle)(uintptr_t)(0x51000000u + 16 * ++serial);
    model->next = table;
    table = model;
    pthread_mutex_unlock(&table_lock);
    return model;
}

static void free_loras(Lora *lora)
{
    while (lora) {
        Lora *next = lora->next;
        free(lora->name);
        free(lora);
        lora = next;
    }
}

void model_forget_pause(Model *model)
{
    for (int entry = 0; model->paused && entry < model->n_batch; entry++)
        output_free(&model->paused[entry]);
    free(model->paused);
    model->paused = NULL;
}

static void model_free(Model *model)
{
    model_forget_pause(model);
    free_loras(model->loras);
    promises_forget(&model->init_strings);
    promises_forget(&model->cross_arrays);
    char *strings[] = {model->system_prompt, model->prompt_prefix, model->prompt_postfix, model->tools,
                       model->tool_tag,      model->prompt_cache,  model->cross_text};
    for (size_t i = 0; i < sizeof strings / sizeof strings[0]; i++)
        free(strings[i]);
    for (size_t i = 0; i < sizeof model->param_strings / sizeof model->param_strings[0]; i++)
        free(model->param_strings[i]);
    free(model->rows);
    pthread_cond_destroy(&model->wake);
    pthread_mutex_destroy(&model->lock);
    free(model);
}

Model *model_acquire(LLMHandle handle)
{
    pthread_mutex_lock(&table_lock);
    Model *model = table;
    while (model && model->handle != handle)
        model = model->next;
    if (model)
        model->references++;
    pthread_mutex_unlock(&table_lock);
    return model;
}

void model_share(Model *model)
{
    pthread_mutex_lock(&table_lock);
    model->references++;
    pthread_mutex_unlock(&table_lock);
}

void model_release(Model *model)
{
    pthread_mutex_lock(&table_lock);
    bool last = --model->references == 0;
    pthread_mutex_unlock(&table_lock);
    if (last)
        model_free(model);
}

bool model_retire(Model *model)
{
    pthread_mutex_lock(&table_lock);
    Model **link = &table;
    while (*link && *link != model)
        link = &(*link)->next;
    bool found = *link != NULL;
    if (found)
        *link = model->next;
    pthread_mutex_unlock(&table_lock);
    return found;
}

int models_alive(void)
{
    int alive = 0;
    pthread_mutex_lock(&table_lock);
    for (Model *model = table; model; model = model->next)
        alive++;
    pthread_mutex_unlock(&table_lock);
    return alive;
}

void models_break(void)
{
    pthread_mutex_lock(&table_lock);
    for (Model *model = table; model; model = model->next)
        model->broken = true;
    pthread_mutex_unlock(&table_lock);
}

/* ---- promises ----------------------------------------------------------------------------------------------- */

/* FNV-1a. */
static uint64_t hash_more(uint64_t hash, const void *bytes, size_t size)
{
    const unsigned char *byte = bytes;
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ byte[i]) * 0x100000001b3u;
    return hash;
}

uint64_t hash_bytes(const void *bytes, size_t size)
{
    return hash_more(0xcbf29ce484222325u, bytes, size);
}

void promise_bytes(Promises *promises, const char *name, const void *where, size_t size)
{
    if (!where || !size)
        return;
    size_t bytes = (promises->count + 1) * sizeof *promises->items;
    Promise *grown = realloc(promises->items, bytes);
    if (!grown) {
        complain("out of memory");
        abort();
    }
    promises->items = grown;
    promises->items[promises->count++] = (Promise){name, where, size, hash_bytes(where, size)};
}

void promise_string(Promises *promises, const char *name, const char *string)
{
    if (string)
        promise_bytes(promises, name, string, strlen(string) + 1);
}

/* Memory that was freed may be unmapped: the kernel reads it for us and says so, where a plain read would crash. Where
 * that call is forbidden (a container's seccomp filter), the plain read it is. */
static bool read_carefully(void *to, const void *from, size_t size)
{
    struct iovec here = {to, size}, there = {(void *)(uintptr_t)from, size};
    ssize_t length = process_vm_readv(getpid(), &here, 1, &there, 1, 0);
    if (length < 0 && (errno == EPERM || errno == ENOSYS)) {
        memcpy(to, from, size);
        return true;
    }
    return length == (ssize_t)size;
}

static bool still_there(const Promise *promise)
{
    char chunk[16384];
    uint64_t hash = hash_bytes("", 0);
    for (size_t at = 0; at < promise->size;) {
        size_t wanted = promise->size - at < sizeof chunk ? promise->size - at : sizeof chunk;
        if (!read_carefully(chunk, (const char *)promise->where + at, wanted))
            return false;
        hash = hash_more(hash, chunk, wanted);
        at += wanted;
    }
    return hash == promise->hash;
}

bool promises_kept(const Promises *promises)
{
    bool kept = true;
    for (size_t i = 0; i < promises->count; i++) {
        if (still_there(&promises->items[i]))
            continue;
        complain("%s was freed", promises->items[i].name);
        kept = false;
    }
    return kept;
}

void promises_forget(Promises *promises)
{
    free(promises->items);
    *promises = (Promises){0};
}
