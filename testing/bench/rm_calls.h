// RM calls of a guest with the shim, as the benchmarks make them: one object per call that is measured, ready
// to be made again and again.
#ifndef TESTING_BENCH_RM_CALLS_H_
#define TESTING_BENCH_RM_CALLS_H_

#include <cstdint>
#include <vector>

namespace nvshim::bench {

// A client with a device and a subdevice, on a file of its own.
class RmClient {
 public:
  RmClient();
  ~RmClient();
  RmClient(const RmClient&) = delete;
  RmClient& operator=(const RmClient&) = delete;

  uint32_t client() const { return client_; }
  uint32_t device() const { return client_ + 1; }
  uint32_t subdevice() const { return client_ + 2; }
  // NV_STATUS of the control.
  uint32_t Control(uint32_t object, uint32_t cmd, void* params, uint32_t params_size) const;

 private:
  void Alloc(uint32_t parent, uint32_t object, uint32_t rm_class, void* params) const;

  int fd_;
  int gpu_fd_;  // a device exists for those who have opened it
  uint32_t client_;
};

// NV0000_CTRL_CMD_GPU_GET_MEMOP_ENABLE: 4 bytes, and the driver has nothing to do.
class SmallCall {
 public:
  // Frame header, body and both segments of this call, as the shim puts them into the ring.
  static constexpr uint32_t kFrameSizeBytes = 104;
  void operator()() const;

 private:
  RmClient rm_;
};

// A call with `size_bytes` behind a pointer, to the driver and back. 64:
// NV2080_CTRL_CMD_GPU_GET_SHORT_NAME_STRING. More: NV0080_CTRL_CMD_GPU_GET_CLASSLIST with room for that many
// bytes of classes, of which the driver fills the same few whatever the room, so that what grows is the bytes
// alone.
class SizedCall {
 public:
  static constexpr uint32_t kShortNameSizeBytes = 64;
  explicit SizedCall(uint32_t size_bytes) : bytes_(size_bytes) {}
  void operator()();

 private:
  RmClient rm_;
  std::vector<uint8_t> bytes_;
};

}  // namespace nvshim::bench

#endif  // TESTING_BENCH_RM_CALLS_H_
