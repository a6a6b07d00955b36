// A library that writes down what a program asks of the NVIDIA driver: in front of the C library on a machine
// with a GPU, in front of the shim on one without. It changes nothing and answers nothing itself.
// One line for each call, appended to the file that NVSHIM_RECORD names:
//
//   PID DEVICE escape NR SIZE STATUS ERRNO
//   PID DEVICE escape NR SIZE STATUS ERRNO control CMD PARAMS_SIZE
//   PID DEVICE escape NR SIZE STATUS ERRNO class CLASS PARAMS_SIZE
//   PID DEVICE uvm NR 0 STATUS ERRNO
//
// NR, STATUS, CMD and CLASS are hexadecimal; a STATUS that is not known is "-". An escape that comes inside
// of NV_ESC_IOCTL_XFER_CMD is written down as what it is. The layouts are those of nvos.h and nv-ioctl.h, the
// same in all drivers that the tables know.
//
// Threads: any. The file is opened for each line, so that no descriptor of ours can be closed by the program,
// or taken for one of its own.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum {
  kNvidiaType = 'F',  // NV_IOCTL_MAGIC
  kEscapeMin = 0x20,  // below are ioctls of frame buffers, which have the same type
  kControl = 0x2a,
  kAlloc = 0x2b,
  kTransfer = 0xd3,  // NV_ESC_IOCTL_XFER_CMD
  kUvmMax = 0xff,
  kUvmInitialize = 0x30000001,
  kUvmDeinitialize = 0x30000002,
  kLineBytes = 256,
};

struct Transfer {  // nv_ioctl_xfer_t
  uint32_t cmd, size;
  uint64_t ptr;
};

// Where NV_STATUS is in the parameters of an escape or a UVM call; what is not here has none, or has it in
// another place in another version.
struct StatusPlace {
  uint32_t number, size, offset;  // size 0: any
};
static const struct StatusPlace kEscapeStatus[] = {
    {0x27, 56, 40}, {0x29, 16, 12},  {0x2a, 32, 28}, {0x2b, 32, 28}, {0x2b, 48, 40}, {0x34, 28, 24},
    {0x35, 24, 20}, {0x4a, 184, 20}, {0x4e, 56, 40}, {0x4f, 32, 24}, {0x57, 56, 48}, {0x58, 40, 32},
    {0x57, 64, 56}, {0x58, 48, 40},  {0x5e, 40, 32}, {0xce, 16, 12}, {0xcf, 16, 12},
};
static const struct StatusPlace kUvmStatus[] = {
    {0x17, 0, 8},  {0x18, 0, 8},           {0x19, 0, 28}, {0x1a, 0, 16}, {0x1b, 0, 48}, {0x1d, 0, 32},
    {0x1e, 0, 32}, {0x1f, 0, 24},          {0x25, 0, 36}, {0x26, 0, 16}, {0x27, 0, 4},  {0x2b, 0, 16},
    {0x2c, 0, 16}, {0x2d, 0, 16},          {0x2e, 0, 32}, {0x2f, 0, 32}, {0x33, 0, 72}, {0x35, 0, 24},
    {0x41, 0, 32}, {0x42, 0, 32},          {0x46, 0, 20}, {0x47, 0, 20}, {0x48, 0, 16}, {0x49, 0, 16},
    {0x4b, 0, 4},  {kUvmInitialize, 0, 8},
};
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static int (*real_ioctl)(int, unsigned long, void*);

__attribute__((constructor)) static void FindIoctl(void) {
  real_ioctl = (int (*)(int, unsigned long, void*))dlsym(RTLD_NEXT, "ioctl");
}

static uint32_t Word(const void* params, uint32_t offset) {
  uint32_t word;
  memcpy(&word, (const char*)params + offset, sizeof(word));
  return word;
}

static void PrintStatus(char text[16], const struct StatusPlace* places, size_t count, uint32_t number,
                        uint32_t size, const void* params) {
  strcpy(text, "-");
  for (size_t i = 0; i < count && params != NULL; ++i)
    if (places[i].number == number && (places[i].size == 0 || places[i].size == size))
      snprintf(text, 16, "0x%x", Word(params, places[i].offset));
}

// The name of the file behind `fd` below /dev; a placeholder of the shim is "socket".
static void DeviceName(int fd, char name[64]) {
  char link[64], path[128];
  snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
  const ssize_t length = readlink(link, path, sizeof(path) - 1);
  path[length < 0 ? 0 : length] = '\0';
  if (strncmp(path, "/dev/", 5) == 0)
    snprintf(name, 64, "%.63s", path + 5);
  else
    snprintf(name, 64, "%s", strncmp(path, "socket:", 7) == 0 ? "socket" : "other");
}

static void Append(const char* line, int length) {
  const char* path = getenv("NVSHIM_RECORD");
  if (path == NULL) return;
  const int file = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
  if (file < 0) return;
  if (write(file, line, (size_t)length) != length) {
    // A full disk: the recording ends here, the program goes on.
  }
  close(file);
}

// `params` and `size` are those of the escape itself, not of the envelope that it came in.
static void WriteEscape(const char* device, uint32_t nr, uint32_t size, const void* params, int error) {
  char line[kLineBytes], status[16];
  PrintStatus(status, kEscapeStatus, COUNT(kEscapeStatus), nr, size, params);
  int length =
      snprintf(line, sizeof(line), "%d %s escape 0x%x %u %s %d", getpid(), device, nr, size, status, error);
  if (nr == kControl && size == 32)
    length += snprintf(line + length, sizeof(line) - (size_t)length, " control 0x%x %u", Word(params, 8),
                       Word(params, 24));
  else if (nr == kAlloc && (size == 32 || size == 48))
    length += snprintf(line + length, sizeof(line) - (size_t)length, " class 0x%x %u", Word(params, 12),
                       Word(params, size == 32 ? 24 : 32));
  line[length++] = '\n';
  Append(line, length);
}

static void WriteUvm(const char* device, uint32_t number, const void* params, int error) {
  char line[kLineBytes], status[16];
  PrintStatus(status, kUvmStatus, COUNT(kUvmStatus), number, 0, params);
  const int length =
      snprintf(line, sizeof(line), "%d %s uvm 0x%x 0 %s %d\n", getpid(), device, number, status, error);
  Append(line, length);
}

static void Record(int fd, unsigned long request, const void* params, int error) {
  char device[64];
  if (_IOC_TYPE(request) == kNvidiaType && _IOC_NR(request) >= kEscapeMin) {
    DeviceName(fd, device);
    if (_IOC_NR(request) == kTransfer && _IOC_SIZE(request) == sizeof(struct Transfer)) {
      struct Transfer transfer;
      memcpy(&transfer, params, sizeof(transfer));
      WriteEscape(device, transfer.cmd, transfer.size, (const void*)(uintptr_t)transfer.ptr, error);
    } else {
      WriteEscape(device, _IOC_NR(request), _IOC_SIZE(request), params, error);
    }
  } else if (request <= kUvmMax || request == kUvmInitialize || request == kUvmDeinitialize) {
    DeviceName(fd, device);
    if (strncmp(device, "nvidia-uvm", 10) == 0 || strcmp(device, "socket") == 0)
      WriteUvm(device, (uint32_t)request, params, error);
  }
}

__attribute__((visibility("default"))) int ioctl(int fd, unsigned long request, ...) {
  va_list arguments;
  va_start(arguments, request);
  void* params = va_arg(arguments, void*);
  va_end(arguments);
  const int result = real_ioctl(fd, request, params);
  const int error = errno;
  Record(fd, request, params, result < 0 ? error : 0);
  errno = error;
  return result;
}
