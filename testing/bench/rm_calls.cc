#include "testing/bench/rm_calls.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <array>

#include "testing/bench/bench.h"

namespace nvshim::bench {
namespace {

constexpr unsigned long kIoctlRmAlloc = 0xc020462b;
constexpr unsigned long kIoctlRmControl = 0xc020462a;
constexpr uint32_t NV01_DEVICE_0 = 0x80;
constexpr uint32_t NV20_SUBDEVICE_0 = 0x2080;
constexpr uint32_t NV0000_CTRL_CMD_GPU_GET_MEMOP_ENABLE = 0x27b;
constexpr uint32_t NV0080_CTRL_CMD_GPU_GET_CLASSLIST = 0x800201;
constexpr uint32_t NV2080_CTRL_CMD_GPU_GET_SHORT_NAME_STRING = 0x20800111;

struct Nvos21 {
  uint32_t root, parent, object, rm_class;
  uint64_t params;
  uint32_t params_size, status;
};
struct Nvos54 {
  uint32_t client, object, cmd, flags;
  uint64_t params;
  uint32_t params_size, status;
};
struct ClassList {
  uint32_t count, reserved;
  uint64_t list;
};

}  // namespace

RmClient::RmClient()
    : fd_(open("/dev/nvidiactl", O_RDWR | O_CLOEXEC)), gpu_fd_(open("/dev/nvidia0", O_RDWR | O_CLOEXEC)) {
  if (fd_ < 0 || gpu_fd_ < 0) Die("/dev/nvidia* (is the shim preloaded and the broker running?)");
  Nvos21 call{};
  if (ioctl(fd_, kIoctlRmAlloc, &call) != 0 || call.status != 0) Die("NV01_ROOT");
  client_ = call.object;
  std::array<uint64_t, 7> device{};  // NV0080_ALLOC_PARAMETERS: device 0
  Alloc(client_, client_ + 1, NV01_DEVICE_0, device.data());
  uint32_t subdevice = 0;
  Alloc(client_ + 1, client_ + 2, NV20_SUBDEVICE_0, &subdevice);
}

RmClient::~RmClient() {
  close(fd_);
  close(gpu_fd_);
}

void RmClient::Alloc(uint32_t parent, uint32_t object, uint32_t rm_class, void* params) const {
  Nvos21 call{client_, parent, object, rm_class, reinterpret_cast<uint64_t>(params), 0, 0};
  if (ioctl(fd_, kIoctlRmAlloc, &call) != 0 || call.status != 0) Die("NV_ESC_RM_ALLOC");
}

uint32_t RmClient::Control(uint32_t object, uint32_t cmd, void* params, uint32_t params_size) const {
  Nvos54 call{client_, object, cmd, 0, reinterpret_cast<uint64_t>(params), params_size, 0};
  if (ioctl(fd_, kIoctlRmControl, &call) != 0) Die("NV_ESC_RM_CONTROL");
  return call.status;
}

void SmallCall::operator()() const {
  uint32_t enabled = 0;
  if (rm_.Control(rm_.client(), NV0000_CTRL_CMD_GPU_GET_MEMOP_ENABLE, &enabled, sizeof(enabled)) != 0)
    Die("NV0000_CTRL_CMD_GPU_GET_MEMOP_ENABLE");
}

void SizedCall::operator()() {
  if (bytes_.size() == kShortNameSizeBytes) {
    if (rm_.Control(rm_.subdevice(), NV2080_CTRL_CMD_GPU_GET_SHORT_NAME_STRING, bytes_.data(),
                    kShortNameSizeBytes) != 0)
      Die("NV2080_CTRL_CMD_GPU_GET_SHORT_NAME_STRING");
    return;
  }
  ClassList list{static_cast<uint32_t>(bytes_.size() / sizeof(uint32_t)), 0,
                 reinterpret_cast<uint64_t>(bytes_.data())};
  if (rm_.Control(rm_.device(), NV0080_CTRL_CMD_GPU_GET_CLASSLIST, &list, sizeof(list)) != 0)
    Die("NV0080_CTRL_CMD_GPU_GET_CLASSLIST");
}

}  // namespace nvshim::bench
