// Fuzzer of a region as a whole. A guest that has attached, opened a file and made a client leaves honest
// frames in its lanes; an input is what is then written over any part of the region: the header with the
// worker's own words, cursors, rings with the frames inside, responses, the pool. The lanes are served as a
// worker does it: those that the guest's word names, then all.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "proto/frame.pb.h"
#include "proto/wire/region.h"
#include "testing/fuzz/input.h"
#include "testing/fuzz/world.h"

namespace nvshim::testing {
namespace {

constexpr uint32_t kControl = 0xc020462a;  // NV_ESC_RM_CONTROL with NVOS54
constexpr uint32_t kAlloc = 0xc020462b;    // NV_ESC_RM_ALLOC with NVOS21
constexpr uint32_t kGetProbedIds = 0x214;  // NV0000_CTRL_CMD_GPU_GET_PROBED_IDS
constexpr uint32_t kFirstClient = 0xc1d00000;

void PutWord(std::vector<uint8_t>& bytes, size_t at, uint32_t value) {
  std::memcpy(bytes.data() + at, &value, sizeof(value));
}

void PublishOpen(World& world, uint32_t lane) {
  OpenRequest request;
  request.set_device_class(DEVICE_CLASS_CTL);
  world.Publish(0, lane, wire::kFrameKindOpen, 0, request.SerializeAsString(), {});
}

// The struct of 32 bytes, and `params_bytes` behind its pointer; in the pool at `pool_offset`, if not 0.
void PublishCall(World& world, uint32_t lane, uint32_t command, std::vector<uint8_t> payload,
                 uint32_t params_bytes, uint32_t pool_offset) {
  IoctlRequest request;
  request.set_command(command);
  request.add_segments()->set_size_bytes(32);
  Segment* params = request.add_segments();
  params->set_size_bytes(params_bytes);
  params->set_pointer_offset(16);
  if (pool_offset != 0) params->set_pool_offset_plus_one(pool_offset + 1);
  payload.resize(pool_offset != 0 ? 32 : 32 + wire::AlignUp8(params_bytes));
  world.Publish(0, lane, wire::kFrameKindIoctl, 0, request.SerializeAsString(), payload);
}

void PublishControl(World& world, uint32_t lane, uint32_t pool_offset) {
  std::vector<uint8_t> payload(32);
  PutWord(payload, 0, kFirstClient);
  PutWord(payload, 4, kFirstClient);
  PutWord(payload, 8, kGetProbedIds);
  PutWord(payload, 24, 256);
  PublishCall(world, lane, kControl, payload, 256, pool_offset);
}

void PublishAlloc(World& world, uint32_t lane, uint32_t client, uint32_t rm_class, uint32_t params_bytes) {
  std::vector<uint8_t> payload(32);
  PutWord(payload, 0, client);
  PutWord(payload, 4, client);
  PutWord(payload, 8, client == 0 ? 0 : 0x5c000001);
  PutWord(payload, 12, rm_class);
  PublishCall(world, lane, kAlloc, payload, params_bytes, 0);
}

// Where the next bytes of the input go.
uint64_t Place(Input& input) {
  const uint8_t part = input.Byte();
  const uint32_t offset = input.Byte() | input.Byte() << 8;
  const uint64_t lane = wire::kLanesOffset + uint64_t{part % kFuzzedLanes} * wire::kLaneStrideBytes;
  switch (part >> 4 & 3) {
    case 0:
      return offset % sizeof(wire::RegionHeader);
    case 1:
      return lane + offset % sizeof(wire::LaneHeader);
    case 2:
      return lane + wire::kRingsOffsetInLane + offset;  // requests, then responses
    default:
      return wire::kPoolOffset + offset;
  }
}

void Overwrite(GuestSide& side, Input& input) {
  const uint64_t at = Place(input);
  const auto bytes = input.Bytes(input.Byte() % 64);
  const uint64_t room = wire::kRegionSizeBytes - at;
  std::copy_n(bytes.begin(), std::min<uint64_t>(bytes.size(), room), side.base() + at);
}

void Run(Input& input) {
  World world;
  PublishOpen(world, 0);
  world.Serve(0, 0);
  PublishAlloc(world, 0, 0, 0x41, 4);
  world.Serve(0, 0);
  GuestSide& side = world.side(0);
  while (!input.empty() && !side.gone()) {
    PublishOpen(world, 0);
    PublishControl(world, 1, 0);
    PublishControl(world, 2, 64);
    PublishAlloc(world, 3, kFirstClient, 0x80, 56);
    for (uint32_t i = 0, n = 1 + input.Byte() % 8; i < n; ++i) Overwrite(side, input);
    const uint64_t pending = side.port->TakePending();
    for (uint32_t lane = 0; lane < kFuzzedLanes; ++lane)
      if ((pending >> lane & 1) != 0) world.Serve(0, lane);
    for (uint32_t lane = 0; lane < kFuzzedLanes; ++lane) world.Serve(0, lane);
  }
}

}  // namespace
}  // namespace nvshim::testing

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  nvshim::testing::Input input(data, size);
  nvshim::testing::Run(input);
  return 0;
}
