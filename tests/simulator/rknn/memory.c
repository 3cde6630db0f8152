/* The exported functions for memories, and the table of live ones. */
#include "rknn_simulator.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the table, under the library's lock -------------------------------------------------------------------- */

enum { GRAVES = 256 };

static Memory *table;
static Memory *graves[GRAVES]; /* the last dead ones keep their address, so that it can't pass for a new one's */
static size_t next_grave;
static uint64_t next_address = 0x10000000;
atomic_int memories_alive;

static Memory *memory_add(rknn_context owner, uint32_t size, uint32_t flags)
{
    Memory *memory = allocate(1, sizeof *memory);
    memory->tensor = (rknn_tensor_mem){.fd = -1, .size = size, .flags = flags, .priv_data = memory};
    memory->owner = owner;
    memory->thread = own_thread();
    memory->own_fd = -1;
    memory->next = table;
    table = memory;
    atomic_fetch_add(&memories_alive, 1);
    return memory;
}

static void memory_remove(Memory *memory)
{
    Memory **link = &table;
    while (*link != memory)
        link = &(*link)->next;
    *link = memory->next;
    atomic_fetch_sub(&memories_alive, 1);
    slots_forget_memory(&memory->tensor);
    if (memory->mapping)
        munmap(memory->mapping, memory->mapped);
    if (memory->own_fd >= 0)
        close(memory->own_fd);
    free(graves[next_grave]);
    graves[next_grave] = memory;
    next_grave = (next_grave + 1) % GRAVES;
}

Memory *memory_find(Function function, const rknn_tensor_mem *tensor)
{
    Memory *memory = table;
    while (memory && &memory->tensor != tensor)
        memory = memory->next;
    if (!memory)
        complain("dead memory %p was given to %s", (const void *)tensor, function_names[function]);
    else
        check_thread(function, "the memory of context", memory->owner, memory->thread);
    return memory;
}

void *memory_bytes(const rknn_tensor_mem *memory)
{
    return (char *)memory->virt_addr + memory->offset;
}

int memories_of(rknn_context owner)
{
    int count = 0;
    for (const Memory *memory = table; memory; memory = memory->next)
        count += memory->owner == owner;
    return count;
}

uint64_t memory_bytes_alive(void)
{
    uint64_t bytes = 0;
    for (const Memory *memory = table; memory; memory = memory->next)
        bytes += memory->own_fd >= 0 ? memory->tensor.size : 0;
    return bytes;
}

/* ---- making them -------------------------------------------------------------------------------------------- */

/* A memfd that can't change its size: what a client gets of it can be mapped without fear. */
static bool map_memfd(Memory *memory)
{
    uint32_t size = memory->tensor.size;
    int fd = memory->own_fd = memfd_create("rknn", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || ftruncate(fd, size) != 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
        return false;
    void *mapping = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (mapping == MAP_FAILED)
        return false;
    memory->mapping = mapping;
    memory->mapped = size;
    memory->tensor.virt_addr = mapping;
    memory->tensor.fd = fd;
    memory->tensor.phys_addr = next_address;
    next_address += (size + 4095ull) / 4096 * 4096;
    return true;
}

static rknn_tensor_mem *make(Call *call, rknn_context owner, uint64_t size)
{
    if (!size || size > UINT32_MAX) {
        call->status = RKNN_ERR_PARAM_INVALID;
        return NULL;
    }
    call->status = RKNN_ERR_MALLOC_FAIL;
    if (!has_room(call->scenario, size))
        return NULL;
    Memory *memory = memory_add(owner, (uint32_t)size, RKNN_TENSOR_MEMORY_FLAGS_ALLOC_INSIDE);
    if (!map_memfd(memory)) {
        memory_remove(memory);
        return NULL;
    }
    call->status = RKNN_SUCC;
    return &memory->tensor;
}

/* A function that returns a pointer leaves with a status in the trace all the same. */
static rknn_tensor_mem *leave(Call *call, rknn_tensor_mem *made)
{
    if (made)
        trace_live();
    call_leave(call);
    return made;
}

rknn_tensor_mem *rknn_create_mem(rknn_context ctx, uint32_t size)
{
    Call call;
    return leave(&call, call_enter(&call, FN_create_mem, ctx) ? make(&call, ctx, size) : NULL);
}

static rknn_tensor_mem *create_mem2(Call *call, rknn_context ctx, uint64_t size, uint64_t flags)
{
    bool has_owner = !(flags & RKNN_MEM_FLAG_ALLOC_NO_CONTEXT);
    if (!has_owner || call->context)
        return make(call, has_owner ? ctx : 0, size);
    complain("dead context %llu was given to rknn_create_mem2", (unsigned long long)ctx);
    call->status = RKNN_ERR_CTX_INVALID;
    return NULL;
}

rknn_tensor_mem *rknn_create_mem2(rknn_context ctx, uint64_t size, uint64_t alloc_flags)
{
    Call call;
    return leave(&call, call_enter(&call, FN_create_mem2, ctx) ? create_mem2(&call, ctx, size, alloc_flags) : NULL);
}

static rknn_tensor_mem *create_mem_from_phys(Call *call, uint64_t phys_addr, void *virt_addr, uint32_t size)
{
    rknn_context owner = call->context->handle;
    if (!virt_addr) {
        rknn_tensor_mem *made = make(call, owner, size);
        if (made)
            made->flags = RKNN_TENSOR_MEMORY_FLAGS_FROM_PHYS;
        if (made)
            made->phys_addr = phys_addr;
        return made;
    }
    call->status = size ? RKNN_SUCC : RKNN_ERR_PARAM_INVALID;
    if (!size)
        return NULL;
    Memory *memory = memory_add(owner, size, RKNN_TENSOR_MEMORY_FLAGS_FROM_PHYS);
    memory->tensor.virt_addr = virt_addr;
    memory->tensor.phys_addr = phys_addr;
    return &memory->tensor;
}

rknn_tensor_mem *rknn_create_mem_from_phys(rknn_context ctx, uint64_t phys_addr, void *virt_addr, uint32_t size)
{
    Call call;
    bool enters = call_enter(&call, FN_create_mem_from_phys, ctx);
    return leave(&call, enters ? create_mem_from_phys(&call, phys_addr, virt_addr, size) : NULL);
}

static bool file_holds(int fd, uint64_t bytes)
{
    struct stat status;
    return fstat(fd, &status) == 0 && (uint64_t)status.st_size >= bytes;
}

static rknn_tensor_mem *create_mem_from_fd(Call *call, int32_t fd, void *virt_addr, uint32_t size, int32_t offset)
{
    uint64_t end = (uint64_t)(uint32_t)offset + size;
    call->status = RKNN_ERR_PARAM_INVALID;
    if (fd < 0 || !size || offset < 0 || !file_holds(fd, end)) {
        vendor_log(call->scenario, ERROR_LINE "failed to convert fd(%d) to handle, ret: -1, errno: 22, errstr: "
                                              "Invalid argument", fd);
        return NULL;
    }
    void *mapping = virt_addr ? NULL : mmap(NULL, end, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (mapping == MAP_FAILED)
        return NULL;
    Memory *memory = memory_add(call->context->handle, size, RKNN_TENSOR_MEMORY_FLAGS_FROM_FD);
    memory->mapping = mapping;
    memory->mapped = end;
    memory->tensor.virt_addr = virt_addr ? virt_addr : mapping;
    memory->tensor.offset = offset;
    memory->tensor.fd = fd;
    call->status = RKNN_SUCC;
    return &memory->tensor;
}

rknn_tensor_mem *rknn_create_mem_from_fd(rknn_context ctx, int32_t fd, void *virt_addr, uint32_t size, int32_t offset)
{
    Call call;
    bool enters = call_enter(&call, FN_create_mem_from_fd, ctx);
    return leave(&call, enters ? create_mem_from_fd(&call, fd, virt_addr, size, offset) : NULL);
}

/* A media buffer block is the vendor's own; the simulator gives a page of memory for any. */
rknn_tensor_mem *rknn_create_mem_from_mb_blk(rknn_context ctx, void *mb_blk, int32_t offset)
{
    Call call;
    rknn_tensor_mem *made = NULL;
    if (call_enter(&call, FN_create_mem_from_mb_blk, ctx)) {
        call.status = RKNN_ERR_PARAM_INVALID;
        if (mb_blk && offset >= 0)
            made = make(&call, ctx, 4096);
    }
    return leave(&call, made);
}

/* ---- ending and syncing them -------------------------------------------------------------------------------- */

static int destroy_mem(const Call *call, rknn_context ctx, rknn_tensor_mem *tensor)
{
    if (!tensor)
        return RKNN_ERR_PARAM_INVALID;
    Memory *memory = memory_find(FN_destroy_mem, tensor);
    if (!memory)
        return RKNN_ERR_PARAM_INVALID;
    bool owner_is_dead = memory->owner && !context_find(memory->owner);
    if (owner_is_dead)
        complain("order: a memory of context %llu is destroyed after it", (unsigned long long)memory->owner);
    else if (memory->owner != ctx && memory->owner)
        complain("a memory of context %llu is destroyed with context %llu", (unsigned long long)memory->owner,
                 (unsigned long long)ctx);
    else if (ctx && !call->context)
        complain("dead context %llu was given to rknn_destroy_mem", (unsigned long long)ctx);
    memory_remove(memory);
    return owner_is_dead ? RKNN_ERR_CTX_INVALID : RKNN_SUCC;
}

int rknn_destroy_mem(rknn_context ctx, rknn_tensor_mem *mem)
{
    Call call;
    if (call_enter(&call, FN_destroy_mem, ctx)) {
        call.status = destroy_mem(&call, ctx, mem);
        trace_live();
    }
    return call_leave(&call);
}

static int mem_sync(const rknn_tensor_mem *mem, rknn_mem_sync_mode mode)
{
    if (!mem || mode < RKNN_MEMORY_SYNC_TO_DEVICE || mode > RKNN_MEMORY_SYNC_BIDIRECTIONAL)
        return RKNN_ERR_PARAM_INVALID;
    return memory_find(FN_mem_sync, mem) ? RKNN_SUCC : RKNN_ERR_PARAM_INVALID;
}

int rknn_mem_sync(rknn_context context, rknn_tensor_mem *mem, rknn_mem_sync_mode mode)
{
    Call call;
    if (call_enter(&call, FN_mem_sync, context))
        call.status = mem_sync(mem, mode);
    return call_leave(&call);
}
