/* A library to preload: notes what a process asks of its disk, and makes some of it go wrong.

   What counts: files below FAULTS_ROOT, and the Unix socket FAULTS_SOCKET.
   FAULTS_LOG    file to which every change, sync and message is appended, in one order for all processes
   FAULTS_FAIL   "SUFFIX=N": the Nth sync of a path with this end fails once with EIO, and nothing is synced
   FAULTS_DELAY  milliseconds that every sync takes longer
   FAULTS_SHORT  seed: reads, writes and messages do really less than asked, now and then EINTR instead

   FAULTS_COUNT  file to which the process appends at its end how many calls were cut short and how many got EINTR

   A change and its record happen under one lock, so whoever saw the change finds its record before its own. A sync has a
   record before and one after: it covers what is noted before the first, and holds from the second on.
   Record: "kind pid fd inode offset result size path\n", then `size` bytes of data. `tests/faults/disk_log.py` reads it. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define PATH_SIZE 4096
#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int log_fd = -1;
static const char *root, *socket_path, *fail_suffix;
static long fail_at, delay_ms;
static unsigned long long random_state;
static long cut_short, interrupts;

__attribute__((constructor)) static void begin(void) {
    const char *text = getenv("FAULTS_LOG");
    root = getenv("FAULTS_ROOT");
    socket_path = getenv("FAULTS_SOCKET");
    if (text) log_fd = syscall(SYS_openat, AT_FDCWD, text, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if ((text = getenv("FAULTS_DELAY"))) delay_ms = atol(text);
    if ((text = getenv("FAULTS_SHORT"))) random_state = strtoull(text, NULL, 10) * 2 + 1;
    if ((text = getenv("FAULTS_FAIL")) && strchr(text, '=')) {
        char *copy = strdup(text), *equals = strrchr(copy, '=');
        *equals = 0;
        fail_suffix = copy;
        fail_at = atol(equals + 1);
    }
}

__attribute__((destructor)) static void end(void) {
    const char *path = getenv("FAULTS_COUNT");
    if (!path) return;
    char text[64];
    int size = snprintf(text, sizeof text, "%ld %ld\n", cut_short, interrupts);
    int fd = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (syscall(SYS_write, fd, text, size) != size) abort();
    syscall(SYS_close, fd);
}

static void lock(void) {
    pthread_mutex_lock(&mutex);
    if (log_fd >= 0) flock(log_fd, LOCK_EX);
}

static void unlock(void) {
    if (log_fd >= 0) flock(log_fd, LOCK_UN);
    pthread_mutex_unlock(&mutex);
}

/* Under the lock. */
static void note(char kind, int fd, long long offset, long long result, const char *path, const void *data, size_t size) {
    if (log_fd < 0) return;
    int saved = errno;
    char head[PATH_SIZE + 200];
    struct stat found = {0};
    if (fd >= 0) syscall(SYS_fstat, fd, &found);
    int length = snprintf(head, sizeof head, "%c %d %d %llu %lld %lld %zu %s\n", kind, (int)getpid(), fd,
                          (unsigned long long)found.st_ino, offset, result, size, path);
    struct iovec parts[2] = {{head, length}, {(void *)data, size}};
    if (syscall(SYS_writev, log_fd, parts, 2) != (long)(length + size)) abort(); /* half a record: no proof of anything */
    errno = saved;
}

static int is_below_root(const char *path) {
    return root && path && !strncmp(path, root, strlen(root)) && (!path[strlen(root)] || path[strlen(root)] == '/');
}

static int has_end(const char *path, const char *end) {
    size_t size = strlen(path), wanted = strlen(end);
    return size >= wanted && !strcmp(path + size - wanted, end);
}

/* The path of one of our files; no logs, and not SQLite's shared memory: nobody needs them after a power cut. */
static int our_file(int fd, char *path) {
    if (!root || fd < 0 || fd == log_fd) return 0;
    char link[40];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    int saved = errno;
    ssize_t size = readlink(link, path, PATH_SIZE - 1);
    errno = saved;
    if (size <= 0) return 0;
    path[size] = 0;
    return is_below_root(path) && !has_end(path, ".log") && !has_end(path, "-shm");
}

static int our_socket(int fd) {
    if (!socket_path) return 0;
    struct sockaddr_un name;
    socklen_t size = sizeof name;
    int saved = errno, found = 0;
    memset(&name, 0, sizeof name);
    if (!getpeername(fd, (struct sockaddr *)&name, &size) && name.sun_family == AF_UNIX)
        found = !strncmp(name.sun_path, socket_path, sizeof name.sun_path);
    size = sizeof name;
    memset(&name, 0, sizeof name);
    if (!found && !getsockname(fd, (struct sockaddr *)&name, &size) && name.sun_family == AF_UNIX)
        found = !strncmp(name.sun_path, socket_path, sizeof name.sun_path);
    errno = saved;
    return found;
}

/* Under the lock: how much of `size` is done now; 0 stands for EINTR. */
static size_t less(size_t size) {
    if (!random_state || size == 0) return size;
    random_state ^= random_state << 13, random_state ^= random_state >> 7, random_state ^= random_state << 17;
    unsigned long long chance = random_state >> 11;
    size_t part = chance % 8 == 0 ? 0 : chance % 8 < 4 ? 1 + (chance >> 3) % size : size;
    cut_short += part && part < size;
    interrupts += !part;
    return part;
}

static int interrupted(void) {
    errno = EINTR;
    return -1;
}

static int opened(int (*real)(const char *, int, ...), const char *path, int flags, mode_t mode) {
    if (!is_below_root(path) || !(flags & (O_CREAT | O_TRUNC))) return real(path, flags, mode);
    char found[PATH_SIZE];
    lock();
    int saved = errno, is_new = access(path, F_OK) != 0;
    errno = saved;
    int fd = real(path, flags, mode);
    if (fd >= 0 && our_file(fd, found)) {
        if (is_new) note('C', fd, 0, 0, found, "", 0);
        else if (flags & O_TRUNC) note('T', fd, 0, 0, found, "", 0);
    }
    unlock();
    return fd;
}

#define OPENED(name)                                       \
    int name(const char *path, int flags, ...) {           \
        va_list rest;                                      \
        va_start(rest, flags);                             \
        mode_t mode = flags & O_CREAT ? va_arg(rest, int) : 0; \
        va_end(rest);                                      \
        return opened(REAL(name), path, flags, mode);      \
    }
OPENED(open)
OPENED(open64)

ssize_t write(int fd, const void *data, size_t size) {
    char path[PATH_SIZE];
    if (!our_file(fd, path)) return REAL(write)(fd, data, size);
    lock();
    size_t part = less(size);
    struct stat before;
    fstat(fd, &before);
    off_t at = fcntl(fd, F_GETFL) & O_APPEND ? before.st_size : lseek(fd, 0, SEEK_CUR);
    ssize_t done = part == 0 && size ? interrupted() : REAL(write)(fd, data, part);
    if (done > 0) note('W', fd, at, done, path, data, done);
    unlock();
    return done;
}

static ssize_t written_at(ssize_t (*real)(int, const void *, size_t, off64_t), int fd, const void *data, size_t size,
                          off64_t at) {
    char path[PATH_SIZE];
    if (!our_file(fd, path)) return real(fd, data, size, at);
    lock();
    size_t part = less(size);
    ssize_t done = part == 0 && size ? interrupted() : real(fd, data, part, at);
    if (done > 0) note('W', fd, at, done, path, data, done);
    unlock();
    return done;
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) { return written_at(REAL(pwrite64), fd, data, size, at); }
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) { return written_at(REAL(pwrite), fd, data, size, at); }

static ssize_t read_at(ssize_t (*real)(int, void *, size_t, off64_t), int fd, void *data, size_t size, off64_t at) {
    char path[PATH_SIZE];
    /* The now page is small and mapped; no file system hands out half of its first bytes. */
    if (!random_state || !our_file(fd, path) || has_end(path, ".now")) return real(fd, data, size, at);
    lock();
    size_t part = less(size);
    unlock();
    return part == 0 && size ? interrupted() : real(fd, data, part, at);
}
ssize_t pread64(int fd, void *data, size_t size, off64_t at) { return read_at(REAL(pread64), fd, data, size, at); }
ssize_t pread(int fd, void *data, size_t size, off_t at) { return read_at(REAL(pread), fd, data, size, at); }

static int truncated(int (*real)(int, off64_t), int fd, off64_t size) {
    char path[PATH_SIZE];
    if (!our_file(fd, path)) return real(fd, size);
    lock();
    int result = real(fd, size);
    if (!result) note('T', fd, size, 0, path, "", 0);
    unlock();
    return result;
}
int ftruncate64(int fd, off64_t size) { return truncated(REAL(ftruncate64), fd, size); }
int ftruncate(int fd, off_t size) { return truncated(REAL(ftruncate), fd, size); }

static int synced(int (*real)(int), int fd) {
    char path[PATH_SIZE];
    if (!our_file(fd, path)) return real(fd);
    lock();
    note('B', fd, 0, 0, path, "", 0);
    int fails = fail_suffix && has_end(path, fail_suffix) && --fail_at == 0;
    unlock();
    struct timespec pause = {delay_ms / 1000, delay_ms % 1000 * 1000000};
    if (delay_ms) nanosleep(&pause, NULL);
    int result = fails ? -1 : real(fd);
    if (fails) errno = EIO;
    lock();
    note('E', fd, 0, result, path, "", 0);
    unlock();
    return result;
}
int fdatasync(int fd) { return synced(REAL(fdatasync), fd); }
int fsync(int fd) { return synced(REAL(fsync), fd); }

int mkdir(const char *path, mode_t mode) {
    if (!is_below_root(path)) return REAL(mkdir)(path, mode);
    lock();
    int result = REAL(mkdir)(path, mode);
    if (!result) note('M', -1, 0, 0, path, "", 0);
    unlock();
    return result;
}

int unlink(const char *path) {
    if (!is_below_root(path)) return REAL(unlink)(path);
    lock();
    int result = REAL(unlink)(path);
    if (!result) note('U', -1, 0, 0, path, "", 0);
    unlock();
    return result;
}

int rename(const char *from, const char *to) {
    if (!is_below_root(from) && !is_below_root(to)) return REAL(rename)(from, to);
    lock();
    int result = REAL(rename)(from, to);
    if (!result) note('R', -1, 0, 0, from, to, strlen(to));
    unlock();
    return result;
}

/* Who waits in here must not hold the lock: of messages, only those that do not wait are noted and cut. */
static int may_wait(int fd, int flags) {
    return !(flags & MSG_DONTWAIT) && !(fcntl(fd, F_GETFL) & O_NONBLOCK);
}

ssize_t send(int fd, const void *data, size_t size, int flags) {
    if (!our_socket(fd) || may_wait(fd, flags)) return REAL(send)(fd, data, size, flags);
    lock();
    size_t part = less(size);
    ssize_t done = part == 0 && size ? interrupted() : REAL(send)(fd, data, part, flags);
    if (done > 0) note('S', fd, 0, done, "", data, done);
    unlock();
    return done;
}

ssize_t recv(int fd, void *data, size_t size, int flags) {
    if (!our_socket(fd) || may_wait(fd, flags)) return REAL(recv)(fd, data, size, flags);
    lock();
    size_t part = less(size);
    ssize_t done = part == 0 && size ? interrupted() : REAL(recv)(fd, data, part, flags);
    if (done > 0) note('G', fd, 0, done, "", data, done);
    unlock();
    return done;
}

static int accepted(int fd) {
    if (fd >= 0 && our_socket(fd)) {
        lock();
        note('A', fd, 0, 0, "", "", 0);
        unlock();
    }
    return fd;
}
int accept(int fd, struct sockaddr *name, socklen_t *size) { return accepted(REAL(accept)(fd, name, size)); }
int accept4(int fd, struct sockaddr *name, socklen_t *size, int flags) {
    return accepted(REAL(accept4)(fd, name, size, flags));
}
