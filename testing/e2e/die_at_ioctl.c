// A library for LD_PRELOAD, in front of libnvshim.so: the process kills itself, with SIGKILL, around its n-th
// ioctl. For tests of sudden death only.
//   NVSHIM_TEST_DIE_AT    n, counted from 1 over all threads; unset: never
//   NVSHIM_TEST_DIE_WHEN  before the call, after it, or during it: from another thread, while it is under way
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static atomic_long calls;

static void* Die(void* unused) {
  kill(getpid(), SIGKILL);
  return unused;
}

int ioctl(int fd, unsigned long request, void* argument) {
  int (*next)(int, unsigned long, void*) = dlsym(RTLD_NEXT, "ioctl");
  const char* at = getenv("NVSHIM_TEST_DIE_AT");
  const char* when = getenv("NVSHIM_TEST_DIE_WHEN");
  pthread_t killer;
  int result;
  if (at == NULL || when == NULL || atomic_fetch_add(&calls, 1) + 1 != atol(at))
    return next(fd, request, argument);
  if (strcmp(when, "before") == 0) Die(NULL);
  if (strcmp(when, "during") == 0) pthread_create(&killer, NULL, Die, NULL);
  result = next(fd, request, argument);
  if (strcmp(when, "after") == 0) Die(NULL);
  return result;
}
