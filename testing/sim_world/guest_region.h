// A guest process' own view of its region: a mapping of the memfd, and its ends of the first lanes' rings.
// Puts frames in and takes replies out, with neither a doorbell nor a wait. What a hostile guest does to the
// region it does through base().
#ifndef TESTING_SIM_WORLD_GUEST_REGION_H_
#define TESTING_SIM_WORLD_GUEST_REGION_H_

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "proto/wire/region.h"
#include "proto/wire/ring.h"

namespace nvshim::testing {

class GuestRegion {
 public:
  static constexpr uint32_t kLanes = 4;

  struct Reply {
    wire::FrameHeader header;
    std::string body;
    std::string payload;
  };

  // `memfd` is a region's.
  explicit GuestRegion(int memfd);
  ~GuestRegion();
  GuestRegion(const GuestRegion&) = delete;
  GuestRegion& operator=(const GuestRegion&) = delete;

  uint8_t* base() const { return base_; }

  // Publishes a frame and sets the lane's bit. The header's magic and lengths are filled in here. False when
  // there is no room.
  bool Publish(uint32_t lane, wire::FrameHeader header, const std::string& body,
               std::span<const uint8_t> payload);

  // The next reply, if there is one.
  std::optional<Reply> TakeReply(uint32_t lane);

 private:
  uint8_t* const base_;
  std::array<wire::RingProducer, kLanes> requests_;
  std::array<wire::RingConsumer, kLanes> responses_;
};

}  // namespace nvshim::testing

#endif  // TESTING_SIM_WORLD_GUEST_REGION_H_
