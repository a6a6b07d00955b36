// Who comes and goes: guests, their processes, and the descriptors that these hold.
#include <algorithm>
#include <iterator>

#include "testing/sim_world/sim_world.h"

namespace nvshim::testing {

using namespace nvshim::broker;  // the subject

namespace {

constexpr size_t kGuestsAtOnce = 5;
constexpr size_t kProcessesPerGuest = 3;

// How long things take: news of a death or of a closed descriptor on its way, and the pauses between arrivals
// and deaths, in virtual nanoseconds. A call takes some microseconds: most things happen between two events
// of one thread.
constexpr uint32_t kNewsNs = 20'000, kArrivalNs = 100'000, kDeathNs = 400'000, kSignalNs = 50'000;

// The quota of most: a few of a program's allocations.
constexpr uint64_t kQuotaBytes = 4 << 20;

std::string Name(GuestId guest) { return "guest " + std::to_string(static_cast<uint32_t>(guest)); }
std::string Name(const BareWorker::ProcessKey& key) {
  return Name(key.first) + " process " + std::to_string(static_cast<uint32_t>(key.second));
}

template <typename Map>
auto SomeOf(Random& random, Map& map) {
  return std::next(map.begin(), random.Below(static_cast<uint32_t>(map.size())));
}

}  // namespace

void SimWorld::SomebodyComes() {
  if (ending_) return;
  clock_.After(Soon(kArrivalNs), [this] { SomebodyComes(); });
  if (tenants_.empty() || (tenants_.size() < kGuestsAtOnce && random_.OneIn(4))) {
    const GuestId guest{++last_guest_};
    Tenant& tenant = tenants_[guest];
    // Under a policy that denies what programs need, nobody knows the answers.
    tenant.wild = policy_ == PolicySet::kSparse || random_.OneIn(2);
    tenant.quota_bytes = random_.OneIn(4) ? uint64_t{1} << 40 : kQuotaBytes;
    ++tally_.guests;
    Note(Name(guest) + (tenant.wild ? " comes, wild" : " comes, honest"));
    Limits limits = DefaultLimits();
    limits[Resource::kVideoMemory] = tenant.quota_bytes;
    Step(GuestAdded{guest, limits});
    return AddProcess(guest);
  }
  const auto [guest, tenant] = *SomeOf(random_, tenants_);
  const size_t processes = static_cast<size_t>(std::count_if(
      processes_.begin(), processes_.end(), [&](const auto& one) { return one.first.first == guest; }));
  if (!tenant.leaves && processes < kProcessesPerGuest) AddProcess(guest);
}

void SimWorld::AddProcess(GuestId guest) {
  const ProcessKey key{guest, ProcessId{++last_process_}};
  Note(Name(key) + " attaches");
  Process& process = processes_[key];
  process.region = std::make_unique<GuestRegion>(Attach(guest, key.second).transport->region().memfd());
  for (uint32_t lane = 0; lane < GuestRegion::kLanes; ++lane)
    clock_.After(Soon(kArrivalNs), [this, key, lane] { RunThread(key, lane); });
}

void SimWorld::SomebodyGoes() {
  if (ending_) return;
  clock_.After(Soon(kDeathNs), [this] { SomebodyGoes(); });
  if (processes_.empty()) return;
  const ProcessKey key = SomeOf(random_, processes_)->first;
  if (!random_.OneIn(4)) return Kill(key);
  tenants_[key.first].leaves = true;
  Note(Name(key.first) + " goes");
  std::vector<ProcessKey> doomed;
  for (const auto& [one, process] : processes_)
    if (one.first == key.first) doomed.push_back(one);
  for (const ProcessKey& one : doomed) Kill(one);
}

// The process is gone at once; its worker hears of it later, of the process and of each descriptor.
void SimWorld::Kill(const ProcessKey& key) {
  if (processes_.erase(key) == 0) return;
  ++tally_.deaths;
  Note(Name(key) + " dies");
  clock_.After(Soon(kNewsNs), [this, key] {
    Note(Name(key) + " is known to be gone");
    Drop(key);
    LeaveIfEmpty(key.first);
  });
  std::vector<FileKey> held;
  for (const auto& [file, open] : files_)
    if (file.first == key.first && open.holders.contains(key.second)) held.push_back(file);
  for (const FileKey& file : held) LetGo(file, key.second);
}

void SimWorld::LetGo(const FileKey& key, ProcessId process) {
  const auto it = files_.find(key);
  if (it == files_.end() || it->second.holders.erase(process) == 0) return;
  if (it->second.holders.empty()) HangUpSoon(key);
}

void SimWorld::HangUpSoon(const FileKey& key) {
  clock_.After(Soon(kNewsNs), [this, key] {
    Note(Name(key.first) + " hangs up file " + std::to_string(static_cast<uint32_t>(key.second)));
    if (const auto file = files_.find(key); file != files_.end()) file->second.hung_up = true;
    Step(FileHungUp{key.first, key.second});
    LeaveIfEmpty(key.first);
  });
}

// A guest that has nothing left is forgotten, once it wants to leave or everything ends. True when it is.
bool SimWorld::LeaveIfEmpty(GuestId guest) {
  const auto it = tenants_.find(guest);
  if (it == tenants_.end() || !(it->second.leaves || ending_)) return false;
  const auto is_its = [&](const auto& one) { return one.first.first == guest; };
  if (std::any_of(processes_.begin(), processes_.end(), is_its)) return false;
  const GuestStatisticsView left = Statistics(guest);
  if (left.processes + left.files != 0) return false;
  Expect(left.clients + left.objects + left.memory_bytes == 0, "something is left of a guest");
  Note(Name(guest) + " is forgotten");
  Step(GuestRemoved{guest});
  Expect(Statistics(guest).counters.ioctls == 0, "the guest is still known");
  tenants_.erase(it);
  std::erase_if(asked_, [&](const auto& one) { return one.first.first.first == guest; });
  return true;
}

// One more process gets a copy of a descriptor, and says so on it: the worker reads that later, or when a
// call needs it.
void SimWorld::PassOn(const FileKey& key) {
  const auto file = files_.find(key);
  if (file == files_.end() || file->second.holders.empty()) return;
  for (const auto& [one, process] : processes_) {
    if (one.first != key.first || !file->second.holders.insert(one.second).second) continue;
    file->second.ever_held.insert(one.second);
    Note(Name(one) + " gets file " + std::to_string(static_cast<uint32_t>(key.second)));
    claims_[key].push_back(one.second);
    clock_.After(Soon(kNewsNs), [this, key] { Drain(key.first, key.second); });
    return;
  }
}

void SimWorld::Drain(GuestId guest, FileId file) {
  const auto it = claims_.find({guest, file});
  if (it == claims_.end()) return;
  const std::vector<ProcessId> claims = std::move(it->second);
  claims_.erase(it);
  for (ProcessId process : claims) Step(FileClaimed{guest, file, static_cast<uint32_t>(process)});
}

void SimWorld::SomethingIsSignalled() {
  if (ending_) return;
  clock_.After(Soon(kSignalNs), [this] { SomethingIsSignalled(); });
  // Now and then one that is closed by now, or never was.
  const auto open = static_cast<uint32_t>(books_.files());
  const DriverFileId file =
      open == 0 || random_.OneIn(8) ? 1 + random_.Below(256) : books_.FileAt(random_.Below(open));
  Note("the driver tells of file " + std::to_string(file));
  Step(FileSignalled{file});
}

}  // namespace nvshim::testing
