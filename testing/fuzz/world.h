// What a worker does for two guests, without its sockets and in one thread, so that an input always does the
// same: lanes, framing, codec, core and simulated driver. Aborts, which is what fuzzers look for, when a
// frame that was taken has not one reply, or when something is left of guests that are gone.
#ifndef TESTING_FUZZ_WORLD_H_
#define TESTING_FUZZ_WORLD_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "broker/core/core.h"
#include "broker/driver/sim/sim_driver.h"
#include "broker/io/frame_codec.h"
#include "broker/io/region.h"
#include "broker/io/server_lane.h"

namespace nvshim::testing {

inline constexpr uint32_t kFuzzedGuests = 2;
inline constexpr uint32_t kFuzzedLanes = 4;

struct GuestSide {
  GuestSide();
  ~GuestSide();

  broker::Region region;
  uint8_t* base;  // the guest's own mapping of it
  broker::ServerLane lanes[kFuzzedLanes];
  broker::SegmentPlaces places[kFuzzedLanes];
  wire::RingProducer requests[kFuzzedLanes];
  std::vector<broker::FileId> files;
  bool broken = false;  // a reply could not be delivered
  bool gone = false;
};

class World {
 public:
  World();
  // Everybody leaves.
  ~World();

  GuestSide& side(uint32_t guest) { return sides_[guest]; }

  // Puts a frame with a valid header into the lane, if there is room; on the guest's `file`-th file.
  void Publish(uint32_t guest, uint32_t lane, wire::FrameKind kind, uint8_t file, const std::string& body,
               const std::vector<uint8_t>& payload);

  // Takes and answers all frames of the lane. A guest that breaks the protocol leaves.
  void Serve(uint32_t guest, uint32_t lane);

  void HangUp(uint32_t guest, broker::FileId file);

 private:
  void Leave(uint32_t guest);
  void Step(broker::Event event);
  GuestSide& SideOf(const broker::CallToken& token) { return sides_[static_cast<uint32_t>(token.guest)]; }

  void Do(broker::DriverOpen& action);
  void Do(broker::DriverIoctl& action);
  void Do(broker::DriverClose& action);
  void Do(broker::ReplyOpen& action);
  void Do(broker::ReplyIoctl& action);
  void Do(broker::ClosePlaceholder& action);
  void Do(broker::SignalFile&) {}
  void Do(broker::NoteRefusal&) {}

  std::unique_ptr<broker::SimDriver> driver_;
  broker::Core core_;
  GuestSide sides_[kFuzzedGuests];
  broker::FrameCopy frame_;
  broker::IoctlRequested request_;
  std::vector<broker::Action> actions_;
  bool stepping_ = false;
  uint64_t replies_ = 0;
  uint64_t opened_ = 0;
  uint64_t closed_ = 0;
};

}  // namespace nvshim::testing

#endif  // TESTING_FUZZ_WORLD_H_
