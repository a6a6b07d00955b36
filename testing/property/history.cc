#include "testing/property/history.h"

#include <algorithm>
#include <cerrno>
#include <iterator>

namespace nvshim::broker {
namespace {

constexpr uint32_t kGuests = 3;
constexpr uint32_t kProcessesAtOnce = 2;
constexpr uint32_t kLanes = 3;
// Numbers of driver files that a history reaches.
constexpr DriverFileId kDriverFilesNear = 64;

// One guest has no quota, the others run into theirs.
constexpr GuestId kWithoutQuota{1};
constexpr uint64_t kQuotaBytes = 1'000'000;

// Low enough for all of them to be reached.
Limits LimitsOf(GuestId guest) {
  Limits limits = DefaultLimits();
  if (guest == kWithoutQuota) return limits;
  limits[Resource::kVideoMemory] = limits[Resource::kPinnedMemory] = kQuotaBytes;
  limits[Resource::kClients] = 5;
  limits[Resource::kObjects] = 12;
  limits[Resource::kChannels] = 1;
  limits[Resource::kProcesses] = 2;
  limits[Resource::kFiles] = 6;
  limits[Resource::kLanes] = 5;
  limits[Resource::kCallBytes] = 4000;
  return limits;
}

// Of a user: less than its guests may have together.
Limits UidLimits() {
  Limits limits = NoLimits();
  limits[Resource::kVideoMemory] = limits[Resource::kPinnedMemory] = 2 * kQuotaBytes;
  limits[Resource::kClients] = 9;
  limits[Resource::kObjects] = 30;
  limits[Resource::kChannels] = 2;
  limits[Resource::kProcesses] = 4;
  limits[Resource::kFiles] = 14;
  limits[Resource::kLanes] = 9;
  limits[Resource::kCallBytes] = 12'000;
  return limits;
}

// The processes of the last guest, a named one, are of two users; those of the others of one.
uint32_t UidOf(GuestId guest, ProcessId process) {
  return guest == GuestId{kGuests} ? 1 + static_cast<uint32_t>(process) % 2 : 1;
}

// The driver rounds up to pages what was within the quota when it was asked for, in each of the calls that it
// has at a time: those of the living on all their lanes, and a few of the dead.
constexpr uint64_t kRoundingBytesMax = 4096 * 4 * kProcessesAtOnce * kLanes;

}  // namespace

History::History(const abi::Table& table, Verdicts verdicts)
    : table_(table),
      verdicts_(std::move(verdicts)),
      laws_(table, verdicts_),
      core_(&table, verdicts_, {0, 1}),
      driver_(laws_) {
  for (uint32_t guest = 1; guest <= kGuests; ++guest) processes_[GuestId{guest}];
  for (uint32_t uid : {1u, 2u}) {
    sheets_[uid] = *UidSheet::Create();
    sheets_[uid]->UseRows(kGuests);
  }
  for (uint32_t number = 1; number <= kGuests; ++number) {
    const GuestId guest{number};
    limits_[guest] = LimitsOf(guest);
    Step(guest, GuestAdded{guest, limits_[guest]});
    for (const auto& [uid, sheet] : sheets_)
      Step(guest, UidAdded{guest, uid, std::make_shared<UidRow>(sheet, number - 1, UidLimits())});
  }
}

void History::Expect(bool holds, std::string_view law) {
  if (!holds && problem_.empty())
    problem_ = "event " + std::to_string(events_.size()) + ": " + std::string(law);
}

void History::RunStep(Random& random) {
  if (!problem_.empty()) return;
  random_ = &random;
  const GuestId guest{1 + random.Below(kGuests)};
  const uint32_t kind = random.Below(40);
  if (kind < 2) return Attach(guest);
  if (kind == 2) {
    const uint32_t rare = random.Below(16);
    return rare < 2 ? Die(guest) : rare == 2 ? ChangeLimits(guest) : rare < 5 ? ChangePolicy(guest) : void();
  }
  if (kind < 4) return RequestOpen(guest);
  if (kind < 21) return RequestIoctl(guest);
  if (kind < 37) return AnswerOne();
  if (kind == 37) return random.OneIn(3) ? HangUpOne() : void();
  if (kind == 38) return random.OneIn(2) ? Claim(guest) : Signal(guest);
  Stray(guest);
}

void History::End(Random& random) {
  random_ = &random;
  for (uint32_t guest = 1; guest <= kGuests; ++guest)
    while (problem_.empty() && !processes_[GuestId{guest}].empty()) Die(GuestId{guest});
  while (problem_.empty() && !driver_queue_.empty()) AnswerOne();
  // Each once: a file that others are registered to is closed with the last of them.
  std::vector<std::pair<GuestId, FileId>> open;
  for (const auto& [key, file] : files_) open.push_back(key);
  if (random.OneIn(2)) std::reverse(open.begin(), open.end());
  for (const auto& [guest, file] : open) Step(guest, FileHungUp{guest, file});
  Expect(awaited_.empty(), "a call without a reply");
  Expect(driver_.files() == 0, "a driver file that nobody closes");
  if (!problem_.empty()) return;
  for (DriverFileId file = 1; file <= kDriverFilesNear; ++file) Step(GuestId{1}, FileSignalled{file});
  for (uint32_t number = 1; number <= kGuests; ++number) {
    const GuestStatisticsView left = core_.Statistics(GuestId{number});
    Expect(left.processes + left.files + left.clients + left.objects == 0 && left.used == Amounts(),
           "something is left of a guest");
    Step(GuestId{number}, GuestRemoved{GuestId{number}});
    Expect(core_.Statistics(GuestId{number}).counters.ioctls == 0, "the guest is still known");
  }
}

bool History::ReplayAgrees() const {
  Core core(&table_, verdicts_, {0, 1});
  Transcript transcript;
  std::vector<Action> actions;
  for (const Event& event : events_) {
    actions.clear();
    core.Step(event, &actions);
    for (const Action& action : actions) transcript.Add(action);
  }
  return transcript.text() == transcript_.text();
}

// ---- Events ----

void History::Step(GuestId guest, Event event, const std::function<void()>& then) {
  events_.push_back(event);
  std::vector<Action> actions;
  core_.Step(std::move(event), &actions);
  for (const Action& action : actions) transcript_.Add(action);
  guest_ = guest;
  for (Action& action : actions) std::visit([&](auto& one) { Do(one); }, action);
  then();
  CheckCounts();
  for (FileId file : std::exchange(hang_up_next_, {})) Step(guest, FileHungUp{guest, file});
}

void History::Attach(GuestId guest) {
  if (processes_[guest].size() >= kProcessesAtOnce) return;
  const ProcessId process{++last_process_};
  Step(guest, ProcessAttached{guest, process, 0, UidOf(guest, process)}, [&] {
    if (core_.IsAttached(guest, process)) processes_[guest].insert(process);
  });
}

void History::Die(GuestId guest) {
  if (processes_[guest].empty()) return;
  const ProcessId process = SomeProcess(guest);
  processes_[guest].erase(process);
  gone_.insert(process);
  Step(guest, ProcessGone{guest, process});
}

ProcessId History::SomeProcess(GuestId guest) {
  auto it = processes_[guest].begin();
  std::advance(it, random_->Below(static_cast<uint32_t>(processes_[guest].size())));
  return *it;
}

// A lane of a process that is there; sometimes one whose call is not answered yet, which the core must
// ignore.
CallToken History::SomeToken(GuestId guest) { return {guest, SomeProcess(guest), random_->Below(kLanes)}; }

void History::RequestOpen(GuestId guest) {
  if (processes_[guest].empty()) return;
  const CallToken token = SomeToken(guest);
  const uint32_t device_class =
      random_->OneIn(10) ? random_->Below(7) : 1 + random_->Below(2) * random_->Below(3);
  const uint32_t minor = device_class == 2 || random_->OneIn(10) ? random_->Below(3) : 0;
  Request(token, {}, OpenRequested{token, ++sequence_, device_class, minor, 2});
}

void History::RequestIoctl(GuestId guest) {
  if (processes_[guest].empty()) return;
  const CallToken token = SomeToken(guest);
  const FileId file = SomeFile(token);
  if (file == FileId::kNone && !random_->OneIn(10)) return RequestOpen(guest);
  const auto known = files_.find({guest, file});
  const DeviceClass device_class = known == files_.end() ? DeviceClass::kCtl : known->second.device_class;
  RandomRequest request = MakeRandomRequest(*random_, table_, device_class, HintsFor(token, file));
  Awaited awaited{0, file, device_class, request.call};
  Request(token, std::move(awaited),
          IoctlRequested{token, ++sequence_, static_cast<uint32_t>(file), std::move(request.call),
                         std::move(request.files)});
}

void History::Request(const CallToken& token, Awaited awaited, Event event) {
  const bool busy = awaited_.contains(KeyOf(token));
  const size_t actions_before = transcript_.text().size();
  awaited.sequence = sequence_;
  awaited.is_allowed = allows_;
  if (!busy) awaited_[KeyOf(token)] = std::move(awaited);
  Step(token.guest, std::move(event));
  if (busy) Expect(transcript_.text().size() == actions_before, "a second call on a lane");
}

// Mostly one that the process has opened; else any of any guest, or a number near them.
FileId History::SomeFile(const CallToken& token) {
  if (random_->OneIn(20)) return FileId{0x1000 * (1 + random_->Below(4)) + random_->Below(8)};
  std::vector<FileId> files;
  const bool any = random_->OneIn(20);
  for (const auto& [key, file] : files_)
    if (any || (key.first == token.guest && file.opener == token.process)) files.push_back(key.second);
  return files.empty() ? FileId::kNone : files[random_->Below(static_cast<uint32_t>(files.size()))];
}

Hints History::HintsFor(const CallToken& token, FileId file) {
  Hints hints;
  for (int i = 0; i < 4; ++i) hints.files.push_back(static_cast<uint32_t>(SomeFile(token)));
  const bool any = random_->OneIn(4);
  for (const auto& [key, one] : files_)
    if (any || key == std::pair(token.guest, file))
      hints.clients.insert(hints.clients.end(), one.clients.begin(), one.clients.end());
  return hints;
}

void History::HangUpOne() {
  if (files_.empty()) return;
  auto it = files_.begin();
  std::advance(it, random_->Below(static_cast<uint32_t>(files_.size())));
  const auto [guest, file] = it->first;
  Step(guest, FileHungUp{guest, file});
}

void History::Claim(GuestId guest) {
  if (files_.empty() || processes_[guest].empty()) return;
  Step(guest, FileClaimed{guest, files_.begin()->first.second, static_cast<uint32_t>(SomeProcess(guest))});
}

// The driver tells of a file of this guest, or of one that it closed or never opened.
void History::Signal(GuestId guest) {
  const DriverFileId file = 1 + random_->Below(kDriverFilesNear);
  if (driver_.Owns(guest, file) || !driver_.IsOpen(file)) Step(guest, FileSignalled{file});
}

// What a confused worker might say.
void History::Stray(GuestId guest) {
  const CallToken token{guest, ProcessId{1 + random_->Below(40)}, random_->Below(70)};
  if (!awaited_.contains(KeyOf(token))) Step(guest, DriverReturned{token, 0, {}});
  Step(guest, FileHungUp{guest, FileId{random_->Below(0x4000)}});
}

// Less than before, more, or what it was at first: of each kind by itself.
void History::ChangeLimits(GuestId guest) {
  Limits limits = LimitsOf(guest);
  for (size_t i = 0; i < kResourceCount; ++i) {
    uint64_t& limit = limits[static_cast<Resource>(i)];
    if (limit == kNoLimit) continue;
    const uint32_t choice = random_->Below(3);
    limit = choice == 0 ? limit / 2 : choice == 1 ? limit * 2 : limit;
  }
  limits_[guest] = limits;
  Step(guest, LimitsChanged{guest, limits});
}

// For a while nothing passes, and what was asked before that goes on.
void History::ChangePolicy(GuestId guest) {
  allows_ = !allows_ || !random_->OneIn(4);
  Step(guest, PolicyChanged{allows_ ? verdicts_ : Verdicts(table_)});
}

// ---- The driver ----

void History::AnswerOne() {
  if (driver_queue_.empty()) return;
  const size_t at = random_->Below(static_cast<uint32_t>(driver_queue_.size()));
  Action action = std::move(driver_queue_[at]);
  driver_queue_.erase(driver_queue_.begin() + static_cast<ptrdiff_t>(at));
  if (auto* open = std::get_if<DriverOpen>(&action)) {
    const bool fails = random_->OneIn(12);
    const GuestId guest = open->token.guest;
    const DriverFileId file = fails ? 0 : driver_.Open(guest, open->node);
    return Step(guest, DriverOpened{open->token, {fails ? EMFILE : 0, file}});
  }
  auto& ioctl = std::get<DriverIoctl>(action);
  bool open = driver_.IsOpen(ioctl.file);
  for (const CallFile& file : ioctl.call.files) open &= driver_.IsOpen(file.file);
  Expect(open, "a file was closed under the call");
  if (!open) return;
  const int error = random_->OneIn(20) ? EIO : 0;
  if (error == 0) driver_.Execute(ioctl.file, ioctl.call, random_->OneIn(12) ? 0x51 : 0);
  Step(ioctl.token.guest, DriverReturned{ioctl.token, error, std::move(ioctl.call)});
}

// ---- Actions ----

void History::Do(DriverOpen& one) {
  Expect(one.token.guest == guest_, "a file for another guest");
  driver_queue_.push_back(one);
}

void History::Do(DriverIoctl& one) {
  Expect(one.token.guest == guest_, "a call for another guest");
  const auto awaited = awaited_.find(KeyOf(one.token));
  Expect(awaited != awaited_.end() && awaited->second.is_allowed, "a call that the policy denies");
  const std::string problem = driver_.Foreign(guest_, one.file, one.call);
  Expect(problem.empty(), problem);
  driver_queue_.push_back(std::move(one));
}

void History::Do(DriverClose& one) {
  Expect(driver_.Owns(guest_, one.file), "closes another guest's file, or one twice");
  driver_.Close(one.file);
}

void History::Do(ReplyOpen& one) {
  TakeAwaited(one.token, one.sequence);
  if (one.error != 0) return;
  Expect(!gone_.contains(one.token.process), "a file for a process that has left");
  const WorkersFile file = {one.token.process, one.node.device_class, {}};
  Expect(files_.insert({{guest_, one.file}, file}).second, "a file id in use");
  if (random_->OneIn(30)) hang_up_next_.push_back(one.file);  // the placeholder could not be made
}

void History::Do(ReplyIoctl& one) {
  const Awaited call = TakeAwaited(one.token, one.sequence);
  if (one.with_segments) {
    const std::string problem = laws_.WrongInAnswer(call.device_class, call.asked, one.call);
    Expect(problem.empty(), problem);
  }
  NoteClient(call.file, one);
  if (one.mapping == 0) return;
  Expect(!gone_.contains(one.token.process), "a mapping for a process that has left");
  Expect(driver_.Owns(guest_, one.mapping), "a mapping of another guest's");
  driver_.Close(one.mapping);
}

void History::Do(ClosePlaceholder& one) {
  Expect(one.guest == guest_ && files_.erase({guest_, one.file}) == 1,
         "closes a placeholder that is not there");
}

void History::Do(SignalFile& one) {
  Expect(one.guest == guest_ && files_.contains({guest_, one.file}), "signals a file that is not there");
}

void History::Do(NoteRefusal& one) { Expect(one.guest == guest_, "notes a refusal of another guest's"); }

// ---- Laws ----

History::Awaited History::TakeAwaited(const CallToken& token, uint32_t sequence) {
  Expect(token.guest == guest_, "a reply to another guest");
  const auto it = awaited_.find(KeyOf(token));
  Expect(it != awaited_.end(), "a reply to nothing");
  if (it == awaited_.end()) return {};
  Expect(it->second.sequence == sequence, "a reply to an older call");
  Awaited call = std::move(it->second);
  awaited_.erase(it);
  return call;
}

// Remembers the clients that guests made, so that requests can name them.
void History::NoteClient(FileId on, const ReplyIoctl& reply) {
  const auto file = files_.find({guest_, on});
  if (file == files_.end() || reply.error != 0 || abi::IocNumber(reply.call.command) != 0x2b) return;
  if (Get<uint32_t>(reply.call.Bytes(0), 12) == 0x41)
    file->second.clients.push_back(Get<uint32_t>(reply.call.Bytes(0), 8));
}

// What the guest holds by the model: what its objects are, and what the calls that have no answer yet ask
// for.
Amounts History::Expected(GuestId guest) const {
  Amounts expected = driver_.held(guest);
  std::set<ProcessId> processes = processes_.at(guest);
  for (const auto& [key, call] : awaited_) {
    if (std::get<GuestId>(key) != guest) continue;
    processes.insert(std::get<ProcessId>(key));
    const Amounts asked = ModelDriver::Asked(call.asked);
    for (Resource resource : {Resource::kVideoMemory, Resource::kPinnedMemory, Resource::kClients,
                              Resource::kObjects, Resource::kChannels})
      expected[resource] += asked[resource];
    expected[Resource::kCallBytes] += call.asked.buffer.size();
  }
  expected[Resource::kProcesses] = processes.size();
  return expected;
}

void History::CheckCounts() {
  Amounts sum;
  for (uint32_t number = 1; number <= kGuests; ++number) {
    const GuestId guest{number};
    const GuestStatisticsView counts = core_.Statistics(guest);
    Amounts expected = Expected(guest);
    expected[Resource::kFiles] = counts.files;  // some of them closed by the guest, and kept by a call
    expected[Resource::kLanes] = counts.used[Resource::kLanes];
    Expect(counts.used == expected, "the ledger is not what is there");
    const Amounts held = driver_.held(guest);
    Expect(counts.clients == held[Resource::kClients], "the clients are not the driver's");
    Expect(counts.objects == held[Resource::kObjects], "the objects are not the driver's");
    for (size_t i = 0; i < kResourceCount; ++i) {
      const auto resource = static_cast<Resource>(i);
      const uint64_t limit = limits_[guest][resource];
      const uint64_t over = InfoOf(resource).reason == Reason::kOverQuota ? kRoundingBytesMax : 0;
      uint64_t& most = most_[guest][resource];
      const uint64_t bound = std::max(limit, most);
      Expect(limit == kNoLimit || counts.used[resource] <= bound + over, "beyond the limit of a guest");
      most = limit == kNoLimit ? counts.used[resource] : std::min(bound, counts.used[resource]);
      sum[resource] += counts.used[resource];
    }
  }
  for (size_t i = 0; i < kResourceCount; ++i) {
    const auto resource = static_cast<Resource>(i);
    uint64_t of_uids = 0;
    for (const auto& [uid, sheet] : sheets_) {
      const uint64_t limit = UidLimits()[resource];
      const uint64_t over = InfoOf(resource).reason == Reason::kOverQuota ? kRoundingBytesMax : 0;
      Expect(limit == kNoLimit || sheet->Sum(resource) <= limit + over, "beyond the limit of a uid");
      of_uids += sheet->Sum(resource);
    }
    Expect(of_uids == sum[resource], "the two levels differ");
  }
}

// Asked of the driver, and not answered yet.
}  // namespace nvshim::broker
