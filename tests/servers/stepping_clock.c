/* A clock that a test sets: LD_PRELOAD it, and the wall clock of the program is the system's plus as many microseconds
 * as the file named by TIDEWIND_TEST_CLOCK says (a signed 64-bit number, mapped once and read at every look). */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *ahead;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("TIDEWIND_TEST_CLOCK");
    int file = path ? open(path, O_RDONLY) : -1;
    if (file < 0) return;
    void *mapped = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (mapped != MAP_FAILED) ahead = mapped;
}

int clock_gettime(clockid_t which, struct timespec *at) {
    long failed = syscall(SYS_clock_gettime, which, at);
    if (failed || !ahead || (which != CLOCK_REALTIME && which != CLOCK_REALTIME_COARSE)) return (int)failed;
    int64_t ns = (int64_t)at->tv_sec * 1000000000 + at->tv_nsec + *ahead * 1000;
    at->tv_sec = ns / 1000000000;
    at->tv_nsec = ns % 1000000000;
    return 0;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out) *out = now.tv_sec;
    return now.tv_sec;
}
