// Measures how long a process takes from its start to a context, in processes of its own, one after the
// other. Law: each of them gets one. run.py runs it natively before the broker is there: then each first
// process finds the GPU as the machine leaves it, and through the broker one that is held open.
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "testing/gpu/programs/kit.h"

enum { kProcesses = 5 };

typedef struct {
  double init, context, release;  // seconds
} Times;

static Times Attach(void) {
  Times times;
  CUcontext context = NULL;
  CUdevice device = -1;
  LoadCuda();
  double start = Now();
  CHECK(cuInit(0));
  times.init = Now() - start;
  start = Now();
  CHECK(cuDeviceGet(&device, 0));
  CHECK(cuCtxCreate(&context, 0, device));
  times.context = Now() - start;
  start = Now();
  CHECK(cuCtxDestroy(context));
  times.release = Now() - start;
  return times;
}

int main(void) {
  for (int i = 0; i < kProcesses; ++i) {
    int ends[2], status = 0;
    Times times;
    char name[32];
    if (pipe(ends) != 0) Fail("no pipe");
    const double start = Now();
    const pid_t pid = fork();
    if (pid < 0) Fail("no child process");
    if (pid == 0) {
      times = Attach();
      if (write(ends[1], &times, sizeof(times)) != sizeof(times)) Fail("the pipe is closed");
      exit(0);
    }
    close(ends[1]);
    const ssize_t length = read(ends[0], &times, sizeof(times));
    close(ends[0]);
    if (waitpid(pid, &status, 0) != pid || status != 0 || length != sizeof(times))
      Fail("process %d ends with status 0x%x", i, status);
    snprintf(name, sizeof(name), "cuInit-%d", i);
    Timing(name, times.init * 1e3, "ms");
    snprintf(name, sizeof(name), "cuCtxCreate-%d", i);
    Timing(name, times.context * 1e3, "ms");
    snprintf(name, sizeof(name), "cuCtxDestroy-%d", i);
    Timing(name, times.release * 1e3, "ms");
    snprintf(name, sizeof(name), "process-%d", i);
    Timing(name, (Now() - start) * 1e3, "ms");
  }
  Step("%d processes got a context", kProcesses);
  return 0;
}
