#include "testing/sim_world/sim_world.h"

#include <cinttypes>
#include <cstdio>
#include <iterator>
#include <utility>

namespace nvshim::testing {

using namespace nvshim::broker;  // the subject

namespace {

// The simulated driver speaks this one.
const abi::Table& TableOfWorld() { return *abi::FindTable("535.261.03"); }

PolicySet PolicyOf(uint64_t seed) { return kPolicySets[seed % std::size(kPolicySets)]; }

// A driver may round up what was within the quota when it was asked for, in every call that it has at a time.
constexpr uint64_t kRoundingBytesMax = 64 * 4096;

}  // namespace

SimWorld::SimWorld(uint64_t seed) : SimWorld(seed, *CreateSimDriver({})) {}

SimWorld::SimWorld(uint64_t seed, std::unique_ptr<SimDriver> driver)
    : BareWorker(TableOfWorld(), VerdictsOf(PolicyOf(seed), TableOfWorld()), driver.get()),
      driver_(std::move(driver)),
      policy_(PolicyOf(seed)),
      laws_(TableOfWorld(), VerdictsOf(policy_, TableOfWorld())),
      random_(seed),
      books_(laws_) {
  Note(std::string("policy ") + kPolicySetNames[static_cast<size_t>(policy_)]);
  SomebodyComes();
  SomebodyGoes();
  SomethingIsSignalled();
}

void SimWorld::Note(std::string event) {
  char time[32];
  std::snprintf(time, sizeof(time), "%10.3f us  ", static_cast<double>(clock_.now_ns()) / 1000);
  trace_.Add(time + std::move(event));
}

void SimWorld::Break(const std::string& law) {
  if (!problem_.empty()) return;
  problem_ = law;
  Note("BROKEN: " + law);
}

void SimWorld::Expect(bool holds, const char* law) {
  if (!holds) Break(law);
}

void SimWorld::RunDry() {
  while (problem_.empty() && clock_.RunNext()) CheckCounts();
}

void SimWorld::Run(uint64_t events) {
  for (; events_ < events && problem_.empty() && clock_.RunNext(); ++events_) CheckCounts();
  ending_ = true;
  // Half of the worlds end with a pause in which everything is answered, the others in the middle of it.
  if (random_.OneIn(2)) {
    RunDry();
    Expect(awaited() == 0, "a call without a reply");
    for (const auto& [key, process] : processes_)
      for (const Thread& thread : process.threads)
        Expect(thread.asked.empty() || tenants_[key.first].wild,
               "an honest thread waits, and nothing will come");
  }
  while (!processes_.empty()) Kill(ProcessKey(processes_.begin()->first));
  RunDry();
  if (!problem_.empty()) return;
  while (!tenants_.empty() && LeaveIfEmpty(tenants_.begin()->first)) {
  }
  Expect(awaited() == 0, "a call without a reply");
  Expect(files_.empty() && driver_files() == 0, "a file that nobody closes");
  Expect(tenants_.empty(), "a guest is empty, and still there");
}

// The core's counts against what guests know of themselves.
void SimWorld::CheckCounts() {
  for (const auto& [guest, tenant] : tenants_) {
    const GuestStatisticsView counts = Statistics(guest);
    Expect(counts.memory_bytes <= tenant.quota_bytes + kRoundingBytesMax, "beyond the quota");
    if (tenant.wild) continue;
    uint64_t objects = 0, memory_bytes = tenant.in_flight_bytes;
    for (const auto& [number, client] : tenant.clients) {
      objects += client.objects;
      for (const auto& [object, size_bytes] : client.memory_bytes) memory_bytes += size_bytes;
    }
    Expect(counts.clients == tenant.clients.size(), "the clients are not the guest's own");
    Expect(counts.objects == objects, "the objects are not the guest's own");
    Expect(counts.memory_bytes == memory_bytes, "the memory is not the guest's own");
  }
}

}  // namespace nvshim::testing
