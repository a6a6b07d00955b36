// [unsafe] The broker's end of a region: makes, sizes, fills and seals the memfd, maps it, and gives out the
// ends of its rings. Once sealed its size cannot change, so no guest can make a read here fault; holes that a
// guest punches read as zeros, which are hostile bytes like any other.
#ifndef BROKER_IO_REGION_H_
#define BROKER_IO_REGION_H_

#include <cstdint>
#include <utility>

#include "absl/status/statusor.h"
#include "broker/io/fd.h"
#include "proto/wire/region.h"
#include "proto/wire/ring.h"

namespace nvshim::broker {

class Region {
 public:
  static absl::StatusOr<Region> Create();
  Region(Region&& other) noexcept
      : base_(std::exchange(other.base_, nullptr)), memfd_(std::move(other.memfd_)) {}
  Region& operator=(Region&&) = delete;
  ~Region();

  // To be sent to the guest; afterwards CloseFd gives the descriptor back.
  int memfd() const { return memfd_.get(); }
  void CloseFd() { memfd_.Reset(); }

  // Shared words; everything read from them is the guest's word.
  std::atomic<uint64_t>& lanes_pending() { return wire::HeaderOf(base_)->lanes_pending; }
  std::atomic<uint32_t>& worker_waiting() { return wire::HeaderOf(base_)->worker_waiting; }
  std::atomic<uint32_t>& worker_cpu() { return wire::HeaderOf(base_)->worker_cpu; }
  std::atomic<uint32_t>& doorbell_state() { return wire::HeaderOf(base_)->doorbell_state; }
  std::atomic<uint32_t>& guest_cpu(uint32_t lane) { return wire::LaneOf(base_, lane)->guest_cpu; }
  std::atomic<uint32_t>& guest_waiting(uint32_t lane) { return wire::LaneOf(base_, lane)->guest_waiting; }
  std::atomic<uint32_t>& response_tail(uint32_t lane) { return wire::LaneOf(base_, lane)->response_tail; }

  wire::RingConsumer RequestsOf(uint32_t lane);
  wire::RingProducer ResponsesOf(uint32_t lane);

  // Copies between private memory and the data pool. False when the range is not inside the pool.
  bool CopyFromPool(void* to, uint32_t offset, uint32_t size_bytes) const;
  bool CopyToPool(uint32_t offset, const void* from, uint32_t size_bytes);

 private:
  Region(void* base, Fd memfd) : base_(base), memfd_(std::move(memfd)) {}

  void* base_;
  Fd memfd_;
};

}  // namespace nvshim::broker

#endif  // BROKER_IO_REGION_H_
