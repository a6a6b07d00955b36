// What every victim needs: RM escapes spoken by hand, and Law(), which ends the program with a sentence when
// what must hold does not. A victim is a small program that does one awkward thing to its device files; it
// exits 0 when the law of its name holds. The structs are written down here a second time on purpose: they
// are nvidia's own layout (nvos.h, nv-ioctl.h), so a mistake in proto/abi shows itself instead of agreeing
// with itself.
//
// Runs in guest processes only, on whatever thread calls; trusts nothing and shares no code with shim or
// broker.
#ifndef TESTING_E2E_VICTIMS_RM_H_
#define TESTING_E2E_VICTIMS_RM_H_

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace victim {

// ---- Laws ----

// Ends the process with status 1 and the sentence `format` unless `holds`. errno is part of what is printed:
// most failures are a system call that said no.
__attribute__((format(printf, 2, 3))) inline void Law(bool holds, const char* format, ...) {
  if (holds) return;
  const int error = errno;
  char sentence[512];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(sentence, sizeof(sentence), format, arguments);
  va_end(arguments);
  dprintf(STDERR_FILENO, "LAW BROKEN in process %d: %s (errno %d: %s)\n", getpid(), sentence, error,
          strerror(error));
  _exit(1);
}

// ---- RM escapes ----

inline constexpr uint32_t kStatusOk = 0;
inline constexpr uint32_t kStatusInvalidClass = 0x22;
inline constexpr uint32_t kStatusNotSupported = 0x56;

inline constexpr uint32_t kClassRoot = 0;             // NV01_ROOT
inline constexpr uint32_t kClassUnknown = 0xdead;     // of no GPU
inline constexpr uint32_t kControlProbedIds = 0x214;  // NV0000_CTRL_CMD_GPU_GET_PROBED_IDS
inline constexpr uint32_t kControlUnknown = 0x7ffe;   // of class 0, category 0x7f: of no driver
inline constexpr uint32_t kNoGpu = 0xffffffff;        // NV0000_CTRL_GPU_INVALID_ID

struct Nvos00 {  // NV_ESC_RM_FREE
  uint32_t root, object_parent, object_old, status;
};
struct Nvos21 {  // NV_ESC_RM_ALLOC
  uint32_t root, object_parent, object_new, object_class;
  uint64_t alloc_parms;
  uint32_t params_size, status;
};
struct Nvos54 {  // NV_ESC_RM_CONTROL
  uint32_t client, object, cmd, flags;
  uint64_t params;
  uint32_t params_size, status;
};
struct ProbedIds {  // NV0000_CTRL_GPU_GET_PROBED_IDS_PARAMS
  uint32_t gpu_ids[32], excluded_gpu_ids[32];
};
static_assert(sizeof(Nvos00) == 16 && sizeof(Nvos21) == 32 && sizeof(Nvos54) == 32 &&
              sizeof(ProbedIds) == 256);

inline constexpr unsigned long kRmFree = _IOWR('F', 0x29, Nvos00);
inline constexpr unsigned long kRmControl = _IOWR('F', 0x2a, Nvos54);
inline constexpr unsigned long kRmAlloc = _IOWR('F', 0x2b, Nvos21);

inline constexpr const char* kCtl = "/dev/nvidiactl";
inline constexpr const char* kGpu0 = "/dev/nvidia0";

// Opens a device file; the law is that it opens.
inline int Open(const char* path, int flags = O_RDWR | O_CLOEXEC) {
  const int fd = open(path, flags);
  Law(fd >= 0, "open(%s) fails", path);
  return fd;
}

// One NV_ESC_RM_ALLOC; the errno, and the answer in `call`.
inline int TryAlloc(int fd, Nvos21* call) { return ioctl(fd, kRmAlloc, call) == 0 ? 0 : errno; }

// Makes an RM client on `fd`; the law is that this works. Returns the client handle.
inline uint32_t NewClient(int fd) {
  Nvos21 call = {};
  const int error = TryAlloc(fd, &call);
  Law(error == 0, "NV_ESC_RM_ALLOC of NV01_ROOT on fd %d fails", fd);
  Law(call.status == kStatusOk, "NV01_ROOT on fd %d: status 0x%x", fd, call.status);
  Law(call.object_new != 0, "NV01_ROOT on fd %d: no handle", fd);
  return call.object_new;
}

// One NV_ESC_RM_CONTROL; the errno, or -1 - NV_STATUS when the ioctl worked and RM said no, 0 when all is
// well.
inline int64_t TryControl(int fd, uint32_t client, uint32_t cmd, void* params, uint32_t params_size) {
  Nvos54 call = {};
  call.client = client;
  call.object = client;
  call.cmd = cmd;
  call.params = reinterpret_cast<uintptr_t>(params);
  call.params_size = params_size;
  if (ioctl(fd, kRmControl, &call) != 0) return errno;
  Law(call.client == client && call.object == client && call.cmd == cmd && call.params_size == params_size &&
          call.params == reinterpret_cast<uintptr_t>(params),
      "a control comes back with fields changed that the driver never writes");
  return call.status == kStatusOk ? 0 : -1 - int64_t{call.status};
}

// The result of asking `client` on `fd` which GPUs there are; see TryControl.
inline int64_t TryProbe(int fd, uint32_t client, ProbedIds* ids) {
  memset(ids, 0, sizeof(*ids));
  return TryControl(fd, client, kControlProbedIds, ids, sizeof(*ids));
}

// Asks, and the law is that the answer is right: one GPU at least, every slot written.
inline void Probe(int fd, uint32_t client) {
  ProbedIds ids;
  const int64_t result = TryProbe(fd, client, &ids);
  Law(result == 0, "GPU_GET_PROBED_IDS of client 0x%x on fd %d: %lld", client, fd,
      static_cast<long long>(result));
  Law(ids.gpu_ids[0] != 0 && ids.gpu_ids[0] != kNoGpu, "GPU_GET_PROBED_IDS names no GPU");
  Law(ids.gpu_ids[31] == kNoGpu, "GPU_GET_PROBED_IDS leaves slot 31 at 0x%x", ids.gpu_ids[31]);
}

// Frees an RM client; the law is that this works.
inline void FreeClient(int fd, uint32_t client) {
  Nvos00 call = {client, client, client, 0};
  Law(ioctl(fd, kRmFree, &call) == 0, "NV_ESC_RM_FREE on fd %d fails", fd);
  Law(call.status == kStatusOk, "NV_ESC_RM_FREE of client 0x%x: status 0x%x", client, call.status);
}

// A device file and a client on it, in one: what most victims start from.
struct Session {
  int fd;
  uint32_t client;
};
inline Session OpenSession(int flags = O_RDWR | O_CLOEXEC) {
  const int fd = Open(kCtl, flags);
  return {fd, NewClient(fd)};
}
inline void Probe(const Session& session) { Probe(session.fd, session.client); }

// ---- Processes ----

// Waits for `pid`; the law is that it exits with status 0, `what` says who it is.
inline void AwaitSuccess(pid_t pid, const char* what) {
  int status = 0;
  pid_t waited;
  do {
    waited = waitpid(pid, &status, 0);
  } while (waited < 0 && errno == EINTR);
  Law(waited == pid, "waitpid(%s) fails", what);
  Law(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%s ends with wait status 0x%x", what, status);
}

// A hang is a broken law as well: SIGALRM ends the process before the test runner would, with a sentence.
inline void OnAlarm(int) {
  const char sentence[] = "LAW BROKEN: the victim hangs\n";
  if (write(STDERR_FILENO, sentence, sizeof(sentence) - 1) < 0) _exit(3);
  _exit(2);
}
inline void NeverHang(unsigned seconds = 60) {
  signal(SIGALRM, OnAlarm);
  alarm(seconds);
}

}  // namespace victim

#endif  // TESTING_E2E_VICTIMS_RM_H_
