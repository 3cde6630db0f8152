/* Stands before the C library in the daemon's process (LD_PRELOAD), for two kinds of tests.
 *
 * RKLLMD_SHIM_CONTROL names a file of one struct control, which the test shares. While it is armed, the calls of one
 * kind in one process are counted, and the k-th fails with the errno given.
 *
 * RKLLMD_SHIM_SYNCED names a directory: each file that was synchronised has a copy there, as it was just before, which
 * is what a power cut is sure to leave of it.
 *
 * Calls that the C library makes of itself do not pass here. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum kind { ALLOCATE, MAP, SEND, RECEIVE, ACCEPT, READ, WRITE, OPEN, SYNCHRONISE, KINDS };

struct control {
    _Atomic uint32_t armed; /* 1: count; 0: leave everything alone */
    _Atomic uint32_t kind;
    _Atomic uint64_t k;     /* which call fails, from 1; 0: none */
    _Atomic int32_t number; /* the errno that it fails with */
    _Atomic int32_t process; /* whose calls are counted */
    _Atomic uint64_t counts[KINDS];
    _Atomic uint64_t failed;
};

static struct control *control;
static const char *synced;

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("RKLLMD_SHIM_CONTROL");
    synced = getenv("RKLLMD_SHIM_SYNCED");
    if (!path)
        return;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0);
    if (fd < 0)
        return;
    void *shared = (void *)syscall(SYS_mmap, NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    if (shared != MAP_FAILED)
        control = shared;
}

/* Whether this call is the one that is to fail; then errno says why. */
static int fails(enum kind kind)
{
    if (!control || !control->armed || control->kind != kind || control->process != (int32_t)syscall(SYS_getpid))
        return 0;
    if (atomic_fetch_add(&control->counts[kind], 1) + 1 != control->k)
        return 0;
    atomic_fetch_add(&control->failed, 1);
    errno = control->number;
    return 1;
}

/* ---- memory: the C library's own functions under their other names ------------------------------------------- */

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

void *malloc(size_t size)
{
    return fails(ALLOCATE) ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    return fails(ALLOCATE) ? NULL : __libc_calloc(count, size);
}

void *realloc(void *memory, size_t size)
{
    return fails(ALLOCATE) ? NULL : __libc_realloc(memory, size);
}

int posix_memalign(void **memory, size_t alignment, size_t size)
{
    if (fails(ALLOCATE))
        return ENOMEM;
    *memory = __libc_memalign(alignment, size);
    return *memory ? 0 : ENOMEM;
}

void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
    if (fails(MAP))
        return MAP_FAILED;
    return (void *)syscall(SYS_mmap, address, length, protection, flags, fd, offset);
}

void *mmap64(void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
    return mmap(address, length, protection, flags, fd, offset);
}

/* ---- sockets: those of clients, which have the name of the one that listens. A pair by which a process speaks to
 * itself or to its keeper has none; the kernel does not fail it in these ways. ---------------------------------- */

static int is_clients(int fd)
{
    struct sockaddr_storage name;
    socklen_t length = sizeof name;
    int before = errno;
    int has_name = control && control->armed && getsockname(fd, (struct sockaddr *)&name, &length) == 0 &&
                   length > sizeof name.ss_family;
    errno = before;
    return has_name;
}

ssize_t send(int fd, const void *bytes, size_t length, int flags)
{
    return is_clients(fd) && fails(SEND) ? -1 : syscall(SYS_sendto, fd, bytes, length, flags, NULL, 0);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    return is_clients(fd) && fails(SEND) ? -1 : syscall(SYS_sendmsg, fd, message, flags);
}

ssize_t recv(int fd, void *bytes, size_t length, int flags)
{
    return is_clients(fd) && fails(RECEIVE) ? -1 : syscall(SYS_recvfrom, fd, bytes, length, flags, NULL, NULL);
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
    return is_clients(fd) && fails(RECEIVE) ? -1 : syscall(SYS_recvmsg, fd, message, flags);
}

int accept4(int fd, struct sockaddr *restrict address, socklen_t *restrict length, int flags)
{
    return fails(ACCEPT) ? -1 : (int)syscall(SYS_accept4, fd, address, length, flags);
}

/* ---- files, of which pipes and event descriptors are none: the kernel does not fail those in these ways ------- */

static int is_file(int fd)
{
    struct stat found;
    int before = errno;
    int is = control && control->armed && fstat(fd, &found) == 0 && S_ISREG(found.st_mode);
    errno = before;
    return is;
}

ssize_t read(int fd, void *bytes, size_t length)
{
    return is_file(fd) && fails(READ) ? -1 : syscall(SYS_read, fd, bytes, length);
}

ssize_t write(int fd, const void *bytes, size_t length)
{
    return is_file(fd) && fails(WRITE) ? -1 : syscall(SYS_write, fd, bytes, length);
}

ssize_t writev(int fd, const struct iovec *pieces, int count)
{
    return is_file(fd) && fails(WRITE) ? -1 : syscall(SYS_writev, fd, pieces, count);
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off_t offset)
{
    return is_file(fd) && fails(WRITE) ? -1 : syscall(SYS_pwrite64, fd, bytes, length, offset);
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset)
{
    return pwrite64(fd, bytes, length, offset);
}

static int opened(int directory, const char *path, int flags, va_list arguments)
{
    int mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(arguments, int) : 0;
    return fails(OPEN) ? -1 : (int)syscall(SYS_openat, directory, path, flags, mode);
}

#define OPENS(name)                                                 \
    int name(const char *path, int flags, ...)                      \
    {                                                               \
        va_list arguments;                                          \
        va_start(arguments, flags);                                 \
        int fd = opened(AT_FDCWD, path, flags, arguments);          \
        va_end(arguments);                                          \
        return fd;                                                  \
    }
#define OPENS_AT(name)                                              \
    int name(int directory, const char *path, int flags, ...)       \
    {                                                               \
        va_list arguments;                                          \
        va_start(arguments, flags);                                 \
        int fd = opened(directory, path, flags, arguments);         \
        va_end(arguments);                                          \
        return fd;                                                  \
    }
OPENS(open)
OPENS(open64)
OPENS_AT(openat)
OPENS_AT(openat64)

int memfd_create(const char *name, unsigned flags)
{
    return fails(OPEN) ? -1 : (int)syscall(SYS_memfd_create, name, flags);
}

/* ---- the disk ------------------------------------------------------------------------------------------------- */

static void copy_all(int from, int to)
{
    static _Thread_local char bytes[1 << 16];
    off_t offset = 0;
    ssize_t count;
    while ((count = pread(from, bytes, sizeof bytes, offset)) > 0) {
        if (syscall(SYS_write, to, bytes, count) != count)
            abort();
        offset += count;
    }
}

/* Copies the file into `beside`; false if it is not one to copy. */
static int copied(int fd, char *beside, char *place)
{
    char link[64], path[PATH_MAX / 2];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0)
        return 0;
    path[length] = 0;
    const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    if (snprintf(place, PATH_MAX, "%s/%s", synced, name) >= PATH_MAX - 32)
        return 0;
    snprintf(beside, PATH_MAX + 32, "%s.%ld", place, (long)syscall(SYS_gettid));
    int from = (int)syscall(SYS_openat, AT_FDCWD, link, O_RDONLY | O_CLOEXEC, 0);
    int to = (int)syscall(SYS_openat, AT_FDCWD, beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (from >= 0 && to >= 0)
        copy_all(from, to);
    syscall(SYS_close, from);
    syscall(SYS_close, to);
    return from >= 0 && to >= 0;
}

static int synchronise(long call, int fd)
{
    char beside[PATH_MAX + 32], place[PATH_MAX];
    if (fails(SYNCHRONISE))
        return -1;
    int is_copied = synced && copied(fd, beside, place);
    int status = (int)syscall(call, fd);
    if (is_copied && status == 0)
        rename(beside, place);
    return status;
}

int fsync(int fd)
{
    return synchronise(SYS_fsync, fd);
}

int fdatasync(int fd)
{
    return synchronise(SYS_fdatasync, fd);
}
