/* Kills the process at the n-th call that changes a file below a folder: before it, or in the middle
 * of a write. Linux looks for a fatal signal when a write goes on to the next page of the file, so
 * the middle is the page boundary that is nearest to it; a write within one page is done, or not.
 * Preloaded; `kill_shim_arm` starts the count, `kill_shim_count` gives it.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static char folder[4096];
static long at = -1, count = 0;
static int half = 0;

void kill_shim_arm(const char *below, long n, int in_the_middle) {
  snprintf(folder, sizeof folder, "%s/", below);
  at = n;
  half = in_the_middle;
  count = 0;
}

long kill_shim_count(void) { return count; }

static void die(void) {
  kill(getpid(), SIGKILL);
  for (;;) pause();
}

static int ours(const char *path) {
  return at >= 0 && path != NULL && strncmp(path, folder, strlen(folder)) == 0;
}

static int descriptor_is_ours(int fd) {
  char link[64], path[4096];
  if (at < 0) return 0;
  int before = errno;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  errno = before;
  if (length < 0) return 0;
  path[length] = 0;
  return ours(path);
}

static int now(void) { return ++count == at; }

static size_t middle(off64_t offset, size_t size) {
  off64_t boundary = (offset + (off64_t)size / 2 + 2048) / 4096 * 4096;
  if (boundary >= offset + (off64_t)size) boundary -= 4096;
  return boundary > offset ? (size_t)(boundary - offset) : size;
}

#define REAL(name) \
  static __typeof__(&name) real; \
  if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

ssize_t write(int fd, const void *data, size_t size) {
  REAL(write);
  if (descriptor_is_ours(fd) && now()) {
    if (half) real(fd, data, middle(lseek64(fd, 0, SEEK_CUR), size));
    die();
  }
  return real(fd, data, size);
}

#define POSITIONED(name, offset_type) \
  ssize_t name(int fd, const void *data, size_t size, offset_type offset) { \
    REAL(name); \
    if (descriptor_is_ours(fd) && now()) { \
      if (half) real(fd, data, middle(offset, size), offset); \
      die(); \
    } \
    return real(fd, data, size, offset); \
  }
POSITIONED(pwrite, off_t)
POSITIONED(pwrite64, off64_t)

ssize_t writev(int fd, const struct iovec *parts, int n) {
  REAL(writev);
  if (descriptor_is_ours(fd) && now()) {
    if (half) real(fd, parts, n / 2);
    die();
  }
  return real(fd, parts, n);
}

#define WITH_DESCRIPTOR(name, arguments, values) \
  int name arguments { \
    REAL(name); \
    if (descriptor_is_ours(fd) && now()) die(); \
    return real values; \
  }
WITH_DESCRIPTOR(ftruncate, (int fd, off_t size), (fd, size))
WITH_DESCRIPTOR(ftruncate64, (int fd, off64_t size), (fd, size))
WITH_DESCRIPTOR(fallocate, (int fd, int mode, off_t offset, off_t size), (fd, mode, offset, size))
WITH_DESCRIPTOR(fallocate64, (int fd, int mode, off64_t offset, off64_t size),
                (fd, mode, offset, size))
WITH_DESCRIPTOR(posix_fallocate, (int fd, off_t offset, off_t size), (fd, offset, size))
WITH_DESCRIPTOR(posix_fallocate64, (int fd, off64_t offset, off64_t size), (fd, offset, size))
WITH_DESCRIPTOR(fsync, (int fd), (fd))
WITH_DESCRIPTOR(fdatasync, (int fd), (fd))

#define WITH_PATH(name, arguments, values) \
  int name arguments { \
    REAL(name); \
    if (ours(path) && now()) die(); \
    return real values; \
  }
WITH_PATH(rename, (const char *path, const char *new), (path, new))
WITH_PATH(unlink, (const char *path), (path))
WITH_PATH(rmdir, (const char *path), (path))
WITH_PATH(mkdir, (const char *path, mode_t mode), (path, mode))

int unlinkat(int fd, const char *path, int flags) {
  REAL(unlinkat);
  if ((ours(path) || (path[0] != '/' && descriptor_is_ours(fd))) && now()) die();
  return real(fd, path, flags);
}

static int makes(int flags) { return flags & (O_CREAT | O_TRUNC); }

#define OPENING(name) \
  int name(const char *path, int flags, ...) { \
    REAL(name); \
    __builtin_va_list more; \
    __builtin_va_start(more, flags); \
    mode_t mode = makes(flags) ? __builtin_va_arg(more, mode_t) : 0; \
    __builtin_va_end(more); \
    if (makes(flags) && ours(path) && now()) die(); \
    return real(path, flags, mode); \
  }
OPENING(open)
OPENING(open64)
