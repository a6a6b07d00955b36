#include "testing/fuzz/world.h"

#include <cstdio>
#include <cstdlib>
#include <utility>

#include "proto/abi/spec.h"

namespace nvshim::testing {

using namespace nvshim::broker;  // the subject

namespace {

constexpr ProcessId kProcess{1};
constexpr char kVersion[] = "535.261.03";

}  // namespace

World::World(std::unique_ptr<SimDriver> driver)
    : BareWorker(*abi::FindTable(kVersion), Verdicts::OfTable(*abi::FindTable(kVersion)), driver.get()),
      driver_(std::move(driver)) {
  for (uint32_t i = 0; i < kFuzzedGuests; ++i) {
    const GuestId guest{i};
    Step(GuestAdded{guest});
    sides_[i].port = &Attach(guest, kProcess);
    sides_[i].region.emplace(sides_[i].port->transport->region().memfd());
  }
}

World::~World() {
  for (uint32_t i = 0; i < kFuzzedGuests; ++i) Leave(i);
  for (uint32_t i = 0; i < kFuzzedGuests; ++i) {
    const GuestStatisticsView held = Statistics(GuestId{i});
    if (held.processes + held.files + held.clients + held.objects + held.memory_bytes != 0)
      Break("something is left of a guest");
  }
  if (driver_files() != 0) Break("a driver file that nobody closes");
  if (awaited() != 0) Break("a call without a reply");
}

void World::Break(const std::string& law) {
  std::fprintf(stderr, "%s\n", law.c_str());
  abort();
}

void World::HangUp(uint32_t guest, FileId file) { Step(FileHungUp{GuestId{guest}, file}); }

void World::Publish(uint32_t guest, uint32_t lane, wire::FrameKind kind, uint8_t file,
                    const std::string& body, const std::vector<uint8_t>& payload) {
  GuestSide& side = sides_[guest];
  wire::FrameHeader header{};
  header.kind = kind;
  header.file_id = side.files.empty() ? file : static_cast<uint32_t>(side.files[file % side.files.size()]);
  side.region->Publish(lane, header, body, payload);
}

void World::Serve(uint32_t guest, uint32_t lane) {
  GuestSide& side = sides_[guest];
  while (!side.gone() && ServeLane(*side.port, lane)) {
    if (awaited() != 0) Break("a call without a reply");
    if (side.port->broken) Leave(guest);
  }
}

void World::Leave(uint32_t guest) {
  if (std::exchange(sides_[guest].port, nullptr) == nullptr) return;
  Drop({GuestId{guest}, kProcess});
  for (FileId file : std::exchange(sides_[guest].files, {})) Step(FileHungUp{GuestId{guest}, file});
}

void World::Opened(const ReplyOpen& reply) {
  if (reply.error == 0) sides_[static_cast<uint32_t>(reply.token.guest)].files.push_back(reply.file);
}

void World::Closed(GuestId guest, FileId file) {
  std::erase(sides_[static_cast<uint32_t>(guest)].files, file);
}

}  // namespace nvshim::testing
