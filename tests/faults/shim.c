/* Lets the n-th call that changes a file below a folder fail, or kill the process.
 *
 * Preloaded; C code (libsndfile) and Python go through it alike. fault_arm(n, error, folder) arms
 * it: error 0 is SIGKILL before the call, a negative one SIGKILL after it, a positive one the errno
 * of that call and, with `for_good`, of all that follow. fault_count() tells how many calls passed.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static long at, passed;
static int error_number, for_good;
static char folder[PATH_MAX];

void fault_arm(long n, int error, int keep, const char *path) {
    at = n, passed = 0, error_number = error, for_good = keep;
    snprintf(folder, sizeof folder, "%s", path);
}

long fault_count(void) { return passed; }

static int below(const char *path) { return folder[0] && strstr(path, folder) == path; }

static int fd_below(int fd) {
    char link[64], path[PATH_MAX];
    if (!folder[0]) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0) return 0;
    path[size] = 0;
    return below(path);
}

/* Returns 1 where the call must fail, and kills where it must come before the call. */
static int strikes(int concerned) {
    if (!concerned) return 0;
    passed++;
    int struck = for_good && error_number > 0 ? passed >= at : passed == at;
    if (!at || !struck) return 0;
    if (error_number == 0) kill(getpid(), SIGKILL);
    return error_number > 0;
}

static void dies_after(int concerned) {
    if (concerned && at && passed == at && error_number < 0) kill(getpid(), SIGKILL);
}

#define CALL(result, name, types, names, concerned)            \
    result name types {                                        \
        static result(*real) types;                            \
        if (!real) real = dlsym(RTLD_NEXT, #name);             \
        int mine = concerned;                                  \
        if (strikes(mine)) { errno = error_number; return -1; } \
        result value = real names;                             \
        int kept = errno;                                      \
        dies_after(mine);                                      \
        errno = kept;                                          \
        return value;                                          \
    }

CALL(ssize_t, write, (int fd, const void *data, size_t size), (fd, data, size), fd_below(fd))
CALL(ssize_t, pwrite, (int fd, const void *d, size_t n, off_t o), (fd, d, n, o), fd_below(fd))
CALL(ssize_t, pwrite64, (int fd, const void *d, size_t n, off64_t o), (fd, d, n, o), fd_below(fd))
CALL(int, fsync, (int fd), (fd), fd_below(fd))
CALL(int, fdatasync, (int fd), (fd), fd_below(fd))
CALL(int, ftruncate, (int fd, off_t size), (fd, size), fd_below(fd))
CALL(int, ftruncate64, (int fd, off64_t size), (fd, size), fd_below(fd))
CALL(int, rename, (const char *from, const char *to), (from, to), below(to))
CALL(int, unlink, (const char *path), (path), below(path))
CALL(int, mkdir, (const char *path, mode_t mode), (path, mode), below(path))
