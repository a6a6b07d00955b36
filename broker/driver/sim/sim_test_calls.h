// Builds the calls that tests make, as the core would: one function per escape, buffers and pointers laid
// out. Test only; trusts its callers.
#ifndef BROKER_DRIVER_SIM_SIM_TEST_CALLS_H_
#define BROKER_DRIVER_SIM_SIM_TEST_CALLS_H_

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "broker/driver/sim/nv.h"
#include "broker/driver/sim/sim_driver.h"

namespace nvshim::broker::sim {

using Buffer = std::vector<uint8_t>;

constexpr uint32_t EscapeCommand(uint32_t number, size_t size) {
  return 3u << 30 | static_cast<uint32_t>(size) << 16 | uint32_t{'F'} << 8 | number;
}

// A buffer behind the pointer at `offset`, with the buffers behind its own pointers.
struct Pointee {
  uint32_t offset;
  Buffer* bytes;
  std::vector<Pointee> pointees = {};
};

inline uint32_t AddSegment(DriverCall& call, const Buffer& bytes, uint32_t parent, uint32_t offset) {
  const uint32_t at = static_cast<uint32_t>((call.buffer.size() + 7) & ~size_t{7});
  call.buffer.resize(at + bytes.size());
  std::copy(bytes.begin(), bytes.end(), call.buffer.begin() + at);
  call.segments.push_back({at, static_cast<uint32_t>(bytes.size()), parent, offset});
  return static_cast<uint32_t>(call.segments.size() - 1);
}

inline void AddPointees(DriverCall& call, uint32_t parent, const std::vector<Pointee>& pointees,
                        std::vector<std::pair<uint32_t, Buffer*>>& out) {
  for (const Pointee& pointee : pointees) {
    const uint32_t segment = AddSegment(call, *pointee.bytes, parent, pointee.offset);
    out.emplace_back(segment, pointee.bytes);
    AddPointees(call, segment, pointee.pointees, out);
  }
}

// Runs the call and copies all buffers back. Returns the errno.
inline int RunCall(Driver& driver, DriverFileId file, uint32_t command, Buffer& bytes,
                   const std::vector<Pointee>& pointees = {}, const std::vector<CallFile>& files = {}) {
  DriverCall call;
  call.command = command;
  call.files = files;
  std::vector<std::pair<uint32_t, Buffer*>> out = {{AddSegment(call, bytes, 0, 0), &bytes}};
  AddPointees(call, 0, pointees, out);
  const int error = driver.Ioctl(file, call);
  for (auto& [segment, target] : out) {
    const auto from = call.Bytes(segment);
    target->assign(from.begin(), from.end());
  }
  return error;
}

inline int RunEscapeNumber(Driver& driver, DriverFileId file, uint32_t number, Buffer& bytes,
                           const std::vector<Pointee>& pointees = {},
                           const std::vector<CallFile>& files = {}) {
  return RunCall(driver, file, EscapeCommand(number, bytes.size()), bytes, pointees, files);
}

// A guest's usual objects on one driver: ctl and GPU file, client, device, subdevice.
class TestGuest {
 public:
  static constexpr uint32_t kDevice = 0x5c000001, kSubdevice = 0x5c000002;
  static constexpr uint32_t kNoStatus = 0xdeadbeef;  // the ioctl failed with an errno

  explicit TestGuest(Driver& driver) : driver_(driver) {
    ctl = driver.Open({DeviceClass::kCtl, 0}, 0).file;
    gpu = driver.Open({DeviceClass::kGpu, 0}, 0).file;
    client = 0;
    uint32_t handle = 0;
    Alloc(0, &handle, NV01_ROOT_CLIENT);
    client = handle;
  }
  void MakeDevice() {
    uint32_t device = kDevice, subdevice = kSubdevice;
    Buffer device_params(56), subdevice_params(4);
    Alloc(client, &device, NV01_DEVICE_0, &device_params);
    Alloc(device, &subdevice, NV20_SUBDEVICE_0, &subdevice_params);
  }

  // NV_ESC_RM_ALLOC, NVOS21 form; returns the status.
  uint32_t Alloc(uint32_t parent, uint32_t* handle, uint32_t class_number, Buffer* params = nullptr,
                 DriverFileId file = 0) {
    Buffer bytes(32);
    Put<uint32_t>(bytes, 0, client);
    Put<uint32_t>(bytes, 4, parent);
    Put<uint32_t>(bytes, 8, *handle);
    Put<uint32_t>(bytes, 12, class_number);
    std::vector<Pointee> pointees;
    if (params != nullptr) pointees.push_back({16, params});
    if (RunEscapeNumber(driver_, file == 0 ? ctl : file, NV_ESC_RM_ALLOC, bytes, pointees) != 0)
      return kNoStatus;
    *handle = Get<uint32_t>(bytes, 8);
    return Get<uint32_t>(bytes, 28);
  }
  // NV_ESC_RM_CONTROL; returns the status.
  uint32_t Control(uint32_t object, uint32_t command, Buffer& params, std::vector<Pointee> inner = {},
                   DriverFileId file = 0, const std::vector<CallFile>& files = {}) {
    Buffer bytes(32);
    Put<uint32_t>(bytes, 0, client);
    Put<uint32_t>(bytes, 4, object);
    Put<uint32_t>(bytes, 8, command);
    Put<uint32_t>(bytes, 24, static_cast<uint32_t>(params.size()));
    std::vector<Pointee> pointees;
    if (!params.empty()) pointees.push_back({16, &params, std::move(inner)});
    if (RunEscapeNumber(driver_, file == 0 ? ctl : file, NV_ESC_RM_CONTROL, bytes, pointees, files) != 0)
      return kNoStatus;
    return Get<uint32_t>(bytes, 28);
  }
  uint32_t Free(uint32_t object) {
    Buffer bytes(16);
    Put<uint32_t>(bytes, 0, client);
    Put<uint32_t>(bytes, 8, object);
    if (RunEscapeNumber(driver_, ctl, NV_ESC_RM_FREE, bytes) != 0) return kNoStatus;
    return Get<uint32_t>(bytes, 12);
  }
  // NVOS32 ALLOC_SIZE; returns the status.
  uint32_t AllocSize(uint32_t handle, uint64_t size_bytes, uint32_t attr = 0, uint32_t flags = 0) {
    Buffer bytes(184);
    Put<uint32_t>(bytes, 0, client);
    Put<uint32_t>(bytes, 4, kDevice);
    Put<uint32_t>(bytes, 8, NVOS32_FUNCTION_ALLOC_SIZE);
    Put<uint32_t>(bytes, 44, handle);
    Put<uint32_t>(bytes, 52, flags);
    Put<uint32_t>(bytes, 56, attr);
    Put<uint64_t>(bytes, 88, size_bytes);
    if (RunEscapeNumber(driver_, ctl, NV_ESC_RM_VID_HEAP_CONTROL, bytes) != 0) return kNoStatus;
    return Get<uint32_t>(bytes, 20);
  }
  // NV_ESC_RM_MAP_MEMORY through `file`; returns the status and the key in `*key`.
  uint32_t MapMemory(uint32_t memory, uint64_t length, DriverFileId file, uint64_t* key,
                     uint64_t offset = 0) {
    Buffer bytes(56);
    Put<uint32_t>(bytes, 0, client);
    Put<uint32_t>(bytes, 4, kDevice);
    Put<uint32_t>(bytes, 8, memory);
    Put<uint64_t>(bytes, 16, offset);
    Put<uint64_t>(bytes, 24, length);
    if (RunEscapeNumber(driver_, ctl, NV_ESC_RM_MAP_MEMORY, bytes, {}, {{0, 48, file}}) != 0)
      return kNoStatus;
    *key = Get<uint64_t>(bytes, 32);
    return Get<uint32_t>(bytes, 40);
  }
  // The datum of one FB_GET_INFO_V2 index.
  uint32_t FbInfo(uint32_t index) {
    Buffer params(436);
    Put<uint32_t>(params, 0, 1);
    Put<uint32_t>(params, 4, index);
    Control(kSubdevice, 0x20801303, params);
    return Get<uint32_t>(params, 8);
  }

  DriverFileId ctl, gpu;
  uint32_t client = 0;

 private:
  Driver& driver_;
};

}  // namespace nvshim::broker::sim

#endif  // BROKER_DRIVER_SIM_SIM_TEST_CALLS_H_
