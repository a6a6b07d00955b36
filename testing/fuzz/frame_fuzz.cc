// Fuzzer of everything behind a lane: ring, framing, codec, core and simulated driver (world.h). An input is
// a list of operations on the regions of two guests: raw writes anywhere (header, cursors, frames, pool),
// frames with a valid header around arbitrary bodies, hang-ups and departures.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "proto/abi/spec.h"
#include "proto/frame.pb.h"
#include "testing/fuzz/input.h"
#include "testing/fuzz/world.h"

namespace nvshim::testing {
namespace {

void Poke(std::vector<uint8_t>& bytes, size_t at, uint32_t value) {
  if (at + 4 <= bytes.size()) std::memcpy(bytes.data() + at, &value, 4);
}

void Frame(World& world, uint32_t guest, uint32_t lane, wire::FrameKind kind, Input& input) {
  const auto body = input.Bytes(input.Byte());
  const auto payload = input.Bytes(wire::AlignUp8(input.Byte()));
  world.Publish(guest, lane, kind, input.Byte(), {body.begin(), body.end()}, payload);
}

// A request whose layout fits a spec of the table, around arbitrary values.
void WellFormedIoctl(World& world, uint32_t guest, uint32_t lane, Input& input) {
  GuestSide& side = world.side(guest);
  const abi::Table& table = *abi::FindTable("535.261.03");
  const abi::Spec& escape = table.escapes[input.Byte() % table.escapes.size];
  IoctlRequest request;
  std::vector<uint8_t> payload;
  const auto add = [&](uint32_t size_bytes, uint32_t parent, uint32_t pointer_offset) {
    Segment* segment = request.add_segments();
    segment->set_size_bytes(size_bytes);
    segment->set_parent(parent);
    segment->set_pointer_offset(pointer_offset);
    const size_t at = payload.size();
    const auto bytes = input.Bytes(std::min<uint32_t>(size_bytes, 64));
    payload.insert(payload.end(), bytes.begin(), bytes.end());
    payload.resize(at + wire::AlignUp8(size_bytes));
    return at;
  };
  request.set_command(0xc0000000u | escape.size << 16 | 'F' << 8 | escape.number);
  add(escape.size, 0, 0);
  // A client the guest may well have.
  if (escape.clients.size != 0 && input.Byte() % 4 != 0) Poke(payload, 0, 0xc1d00000u + input.Byte() % 2);
  if (escape.shape == abi::Shape::kControl || escape.shape == abi::Shape::kAlloc) {
    const bool control = escape.shape == abi::Shape::kControl;
    const abi::SpecList& specs = control ? table.controls : table.classes;
    const abi::Spec& nested = specs[(input.Byte() | input.Byte() << 8) % specs.size];
    Poke(payload, control ? 8 : 12, nested.number);
    if (control) Poke(payload, 24, nested.size);
    if (control) Poke(payload, 12, 0);
    if (nested.size != 0 && payload.size() + nested.size < wire::kRingSizeBytes / 2) {
      const size_t params = add(nested.size, 0, 16);
      for (const abi::Pointer& pointer : nested.pointers) {
        if (pointer.direction == abi::Direction::kNull) continue;
        const uint32_t count = input.Byte() % 8;
        if (pointer.count_offset != abi::kNone) Poke(payload, params + pointer.count_offset, count);
        if (count != 0) add(count * pointer.element_size, 1, pointer.offset);
      }
    }
  }
  if (!side.files.empty() && escape.fds.size != 0) {
    FileReference* file = request.add_files();
    file->set_field_offset(escape.fds.data[0].offset);
    file->set_file_id(static_cast<uint32_t>(side.files[input.Byte() % side.files.size()]));
  }
  world.Publish(guest, lane, wire::kFrameKindIoctl, input.Byte(), request.SerializeAsString(), payload);
}

void Operate(World& world, Input& input) {
  const uint8_t operation = input.Byte();
  const uint32_t guest = operation & 1;
  GuestSide& side = world.side(guest);
  if (side.gone()) return;
  const uint32_t lane = input.Byte() % kFuzzedLanes;
  switch (operation >> 1 & 7) {
    case 0: {
      const uint64_t at = input.Word() % (wire::kRegionSizeBytes - 256);
      const auto bytes = input.Bytes(input.Byte());
      std::copy(bytes.begin(), bytes.end(), side.base() + at);
      break;
    }
    case 1: {
      const uint32_t word = input.Byte() % 5;
      wire::LaneHeader* header = wire::LaneOf(side.base(), lane);
      std::atomic<uint32_t>* words[] = {&header->request_tail, &header->request_head, &header->response_tail,
                                        &header->response_head, &header->guest_waiting};
      words[word]->store(input.Word());
      break;
    }
    case 2:
      if (!side.files.empty()) world.HangUp(guest, side.files[lane % side.files.size()]);
      break;
    case 3:
      Frame(world, guest, lane, wire::kFrameKindOpen, input);
      break;
    case 4:
      WellFormedIoctl(world, guest, lane, input);
      break;
    default:
      Frame(world, guest, lane, wire::kFrameKindIoctl, input);
      break;
  }
  world.Serve(guest, lane);
}

}  // namespace
}  // namespace nvshim::testing

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  nvshim::testing::Input input(data, size);
  nvshim::testing::World world;
  while (!input.empty()) nvshim::testing::Operate(world, input);
  return 0;
}
