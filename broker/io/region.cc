#include "broker/io/region.h"

#include <sys/mman.h>

#include "broker/io/sealed_memfd.h"

namespace nvshim::broker {
namespace {

void FillHeader(void* base) {
  wire::RegionHeader* header = wire::HeaderOf(base);
  header->magic = wire::kRegionMagic;
  header->layout_version = wire::kRegionLayoutVersion;
  header->region_size_bytes = wire::kRegionSizeBytes;
  header->lane_count = wire::kLaneCount;
  header->lane_stride_bytes = wire::kLaneStrideBytes;
  header->lanes_offset = wire::kLanesOffset;
  header->ring_size_bytes = wire::kRingSizeBytes;
  header->pool_offset = wire::kPoolOffset;
  header->pool_size_bytes = wire::kPoolSizeBytes;
  header->worker_waiting.store(wire::kFirstSleep, std::memory_order_relaxed);
}

bool InPool(uint32_t offset, uint32_t size_bytes) {
  return uint64_t{offset} + size_bytes <= wire::kPoolSizeBytes;
}

}  // namespace

absl::StatusOr<Region> Region::Create() {
  auto memfd = CreateSealedMemfd("nvshim-region", wire::kRegionSizeBytes);
  if (!memfd.ok()) return memfd.status();
  const auto base = MapSealedMemfd(*memfd, wire::kRegionSizeBytes);
  if (!base.ok()) return base.status();
  FillHeader(*base);
  return Region(*base, *std::move(memfd));
}

Region::~Region() {
  if (base_ != nullptr) munmap(base_, wire::kRegionSizeBytes);
}

wire::RingConsumer Region::RequestsOf(uint32_t lane) {
  wire::LaneHeader* header = wire::LaneOf(base_, lane);
  return {wire::RequestRingOf(base_, lane), wire::kRingSizeBytes, &header->request_head,
          &header->request_tail};
}

wire::RingProducer Region::ResponsesOf(uint32_t lane) {
  wire::LaneHeader* header = wire::LaneOf(base_, lane);
  return {wire::ResponseRingOf(base_, lane), wire::kRingSizeBytes, &header->response_tail,
          &header->response_head};
}

bool Region::CopyFromPool(void* to, uint32_t offset, uint32_t size_bytes) const {
  if (!InPool(offset, size_bytes)) return false;
  wire::CopyFromShared(to, wire::PoolOf(base_) + offset, size_bytes);
  return true;
}

bool Region::CopyToPool(uint32_t offset, const void* from, uint32_t size_bytes) {
  if (!InPool(offset, size_bytes)) return false;
  wire::CopyToShared(wire::PoolOf(base_) + offset, from, size_bytes);
  return true;
}

}  // namespace nvshim::broker
