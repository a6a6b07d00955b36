// Two guests of a bare worker (testing/sim_world) over the simulated driver, each with one process. The
// driver answers at once, so that an input always does the same. Aborts, which is what fuzzers look for, when
// a law of the worker's is broken, or when something is left of guests that are gone.
#ifndef TESTING_FUZZ_WORLD_H_
#define TESTING_FUZZ_WORLD_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "broker/driver/sim/sim_driver.h"
#include "testing/sim_world/bare_worker.h"
#include "testing/sim_world/guest_region.h"

namespace nvshim::testing {

inline constexpr uint32_t kFuzzedGuests = 2;
inline constexpr uint32_t kFuzzedLanes = GuestRegion::kLanes;

struct GuestSide {
  broker::ProcessPort* port = nullptr;  // null: the guest is gone
  std::optional<GuestRegion> region;
  std::vector<broker::FileId> files;

  bool gone() const { return port == nullptr; }
  uint8_t* base() { return region->base(); }
};

class World : private BareWorker {
 public:
  explicit World(std::unique_ptr<broker::SimDriver> driver = *broker::CreateSimDriver({}));
  // Everybody leaves.
  ~World() override;

  GuestSide& side(uint32_t guest) { return sides_[guest]; }

  // Puts a frame with a valid header into the lane, if there is room; on the guest's `file`-th file.
  void Publish(uint32_t guest, uint32_t lane, wire::FrameKind kind, uint8_t file, const std::string& body,
               const std::vector<uint8_t>& payload);

  // Takes and answers all frames of the lane. A guest that breaks the protocol leaves.
  void Serve(uint32_t guest, uint32_t lane);

  void HangUp(uint32_t guest, broker::FileId file);

 private:
  void Leave(uint32_t guest);
  void Break(const std::string& law) override;
  void Opened(const broker::ReplyOpen& reply) override;
  void Closed(broker::GuestId guest, broker::FileId file) override;

  const std::unique_ptr<broker::SimDriver> driver_;
  GuestSide sides_[kFuzzedGuests];
};

}  // namespace nvshim::testing

#endif  // TESTING_FUZZ_WORLD_H_
