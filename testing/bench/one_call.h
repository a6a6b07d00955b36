// One small ioctl taken apart: the shim's part, ring, decoding, core and reply, all in one thread that never
// waits, so that each part can be timed and counted alone. The driver is the caller's.
#ifndef TESTING_BENCH_ONE_CALL_H_
#define TESTING_BENCH_ONE_CALL_H_

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "broker/core/core.h"
#include "broker/driver/driver.h"
#include "broker/io/frame_codec.h"
#include "broker/io/region.h"
#include "broker/io/server_lane.h"
#include "preload/call.h"
#include "preload/process.h"

namespace nvshim::bench {

// A driver that has nothing to do: what is left is what the broker adds. It knows NV01_ROOT.
class QuietDriver final : public broker::Driver {
 public:
  const broker::DriverInfo& info() const override { return info_; }
  broker::OpenResult Open(broker::DeviceNode, uint32_t) override;
  int Ioctl(broker::DriverFileId file, broker::DriverCall& call) override;
  broker::MapResult Map(broker::DriverFileId) override { return {EINVAL, -1}; }
  void Close(broker::DriverFileId) override {}

 private:
  broker::DriverInfo info_;
};

// The call is NV0000_CTRL_CMD_GPU_GET_MEMOP_ENABLE, 32 + 4 bytes, on a client of its own.
class OneCall {
 public:
  explicit OneCall(std::unique_ptr<broker::Driver> driver);
  ~OneCall();
  OneCall(const OneCall&) = delete;
  OneCall& operator=(const OneCall&) = delete;

  // The parts of the way there and back, in this order. Push and Pop are a guest without the shim.
  void Push();
  void Take();   // and decodes
  void Judge();  // Core::Step, the driver, Core::Step
  void Reply();
  void Pop();

  // The same with the shim, which finds its answer in the ring when it looks: PutAnswer, ShimCall,
  // TakeFromShim, Judge. The answer is that to the call before.
  void PutAnswer();
  void ShimGather();
  void ShimCall();  // with ShimGather
  void TakeFromShim();

  // What Judge has used up is there again: another Judge, Reply or Take may follow.
  void Restore();

 private:
  void MakeFrame();
  void NewClient();
  void TakeFrom(broker::ServerLane& lane);
  void Step(broker::Event event);

  broker::Region region_;
  void* base_;
  broker::ServerLane lane_, shim_lane_;
  wire::RingProducer requests_;
  wire::RingConsumer responses_;
  std::unique_ptr<broker::Driver> driver_;
  broker::Core core_;
  std::vector<broker::Action> actions_;
  std::vector<uint8_t> frame_bytes_;
  broker::FrameCopy frame_;
  broker::SegmentPlaces places_;
  broker::IoctlRequested request_;
  broker::DriverCall reply_;
  broker::FileId file_ = broker::FileId::kNone;
  uint32_t client_ = 0;

  std::unique_ptr<preload::Session> session_;
  preload::GatheredCall gathered_;
  std::array<uint32_t, 8> nvos54_{};
  uint32_t enabled_ = 0;
  uint32_t answered_ = 0;  // sequence of the last answer to the shim
};

}  // namespace nvshim::bench

#endif  // TESTING_BENCH_ONE_CALL_H_
