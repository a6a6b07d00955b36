// Random histories of several guests through the real core: ordinary calls, nonsense, driver errors, files
// that hang up and processes that die at any step, answers of the driver in any order. After each step the
// core's counts are those of the model driver, and everything it did was for the guest it was done for; at
// the end nothing is left; and the same events once more give the same actions. A failure prints its seed;
// NVSHIM_SEED=<seed> runs that history alone.
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <iterator>
#include <map>
#include <random>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "broker/core/core.h"
#include "testing/property/model_driver.h"
#include "testing/property/random_request.h"

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
uint64_t QuotaOf(GuestId guest) { return guest == kWithoutQuota ? kNoQuota : kQuotaBytes; }

// The driver rounds up to pages what was within the quota when it was asked for, in each of the calls that it
// has at a time: those of the living on all their lanes, and a few of the dead.
constexpr uint64_t kRoundingBytesMax = 4096 * 4 * kProcessesAtOnce * kLanes;

using TokenKey = std::tuple<GuestId, ProcessId, uint32_t>;
TokenKey KeyOf(const CallToken& token) { return {token.guest, token.process, token.lane}; }

// Everything an action says, as bytes: two runs that agree in it agree.
class Transcript {
 public:
  void Add(const Action& action) {
    Number(action.index());
    std::visit([&](const auto& one) { Put(one); }, action);
  }
  const std::string& text() const { return text_; }

 private:
  void Number(uint64_t value) { text_.append(reinterpret_cast<const char*>(&value), sizeof(value)); }
  void Put(const CallToken& token) {
    Number(static_cast<uint32_t>(token.guest));
    Number(static_cast<uint32_t>(token.process));
    Number(token.lane);
  }
  void Put(const DriverCall& call) {
    Number(call.command);
    text_.append(call.buffer.begin(), call.buffer.end());
    for (const CallFile& file : call.files) Number(file.file);
  }
  void Put(const DriverOpen& one) {
    Put(one.token);
    Number(one.node.minor);
    Number(one.flags);
  }
  void Put(const DriverIoctl& one) {
    Put(one.token);
    Put(one.call);
    Number(one.file);
  }
  void Put(const DriverClose& one) { Number(one.file); }
  void Put(const ReplyOpen& one) {
    Put(one.token);
    Number(one.sequence);
    Number(static_cast<uint32_t>(one.error));
    Number(static_cast<uint32_t>(one.file));
  }
  void Put(const ReplyIoctl& one) {
    Put(one.token);
    Put(one.call);
    for (uint64_t value :
         {one.sequence, static_cast<uint32_t>(one.error), uint32_t{one.with_segments}, one.mapping})
      Number(value);
  }
  void Put(const ClosePlaceholder& one) { Number(static_cast<uint32_t>(one.file)); }
  void Put(const SignalFile& one) { Number(static_cast<uint32_t>(one.file)); }
  void Put(const NoteRefusal& one) { Number(one.refusal.number); }

  std::string text_;
};

// An open file, as the worker and its guest know it.
struct WorkersFile {
  ProcessId opener;
  DeviceClass device_class;
  std::vector<uint32_t> clients;  // that were made on it
};

// One history: the core, the driver below it, and what the worker would know.
class History {
 public:
  explicit History(uint64_t seed) : random_(seed), core_(abi::FindTable("535.261.03"), {0, 1}) {
    for (uint32_t guest = 1; guest <= kGuests; ++guest)
      Step(static_cast<GuestId>(guest), GuestAdded{GuestId{guest}, QuotaOf(GuestId{guest})});
  }

  void RunStep() {
    const GuestId guest{1 + random_.Below(kGuests)};
    const uint32_t kind = random_.Below(40);
    if (kind < 2) return Attach(guest);
    if (kind == 2) return random_.OneIn(8) ? Die(guest) : void();
    if (kind < 4) return RequestOpen(guest);
    if (kind < 21) return RequestIoctl(guest);
    if (kind < 37) return AnswerOne();
    if (kind == 37) return random_.OneIn(3) ? HangUpOne() : void();
    if (kind == 38) return random_.OneIn(2) ? Claim(guest) : Signal(guest);
    Stray(guest);
  }

  // Everybody dies; the driver answers what it has, in any order.
  void End() {
    for (uint32_t guest = 1; guest <= kGuests; ++guest)
      while (!processes_[GuestId{guest}].empty()) Die(GuestId{guest});
    while (!driver_queue_.empty()) AnswerOne();
    while (!files_.empty()) HangUpOne();
    EXPECT_TRUE(awaited_.empty()) << "a call without a reply";
    EXPECT_EQ(driver_.files(), 0u) << "a driver file that nobody closes";
    for (DriverFileId file = 1; file <= kDriverFilesNear; ++file) Step(GuestId{1}, FileSignalled{file});
    for (uint32_t number = 1; number <= kGuests; ++number) {
      const GuestStatisticsView left = core_.Statistics(GuestId{number});
      EXPECT_EQ(left.processes + left.files + left.clients + left.objects + left.memory_bytes, 0u);
      Step(GuestId{number}, GuestRemoved{GuestId{number}});
      EXPECT_EQ(core_.Statistics(GuestId{number}).counters.ioctls, 0u) << "the guest is still known";
    }
  }

  void ExpectReplayAgrees() const {
    Core core(abi::FindTable("535.261.03"), {0, 1});
    Transcript transcript;
    std::vector<Action> actions;
    for (const Event& event : events_) {
      actions.clear();
      core.Step(event, &actions);
      for (const Action& action : actions) transcript.Add(action);
    }
    EXPECT_EQ(transcript.text(), transcript_.text()) << "the same events gave other actions";
  }

 private:
  // ---- Events ----

  // Steps the core on behalf of `guest`; none of the actions may concern another.
  void Step(GuestId guest, Event event) {
    events_.push_back(event);
    std::vector<Action> actions;
    core_.Step(std::move(event), &actions);
    for (const Action& action : actions) transcript_.Add(action);
    guest_ = guest;
    for (Action& action : actions) std::visit([&](auto& one) { Do(one); }, action);
    Check();
    for (FileId file : std::exchange(hang_up_next_, {})) Step(guest, FileHungUp{guest, file});
  }

  void Attach(GuestId guest) {
    if (processes_[guest].size() >= kProcessesAtOnce) return;
    const ProcessId process{++last_process_};
    processes_[guest].insert(process);
    Step(guest, ProcessAttached{guest, process});
  }

  void Die(GuestId guest) {
    if (processes_[guest].empty()) return;
    const ProcessId process = SomeProcess(guest);
    processes_[guest].erase(process);
    gone_.insert(process);
    Step(guest, ProcessGone{guest, process});
  }

  ProcessId SomeProcess(GuestId guest) {
    auto it = processes_[guest].begin();
    std::advance(it, random_.Below(static_cast<uint32_t>(processes_[guest].size())));
    return *it;
  }

  // A lane of a process that is there; sometimes one whose call is not answered yet, which the core must
  // ignore.
  CallToken SomeToken(GuestId guest) { return {guest, SomeProcess(guest), random_.Below(kLanes)}; }

  void RequestOpen(GuestId guest) {
    if (processes_[guest].empty()) return;
    const CallToken token = SomeToken(guest);
    const uint32_t device_class =
        random_.OneIn(10) ? random_.Below(7) : 1 + random_.Below(2) * random_.Below(3);
    const uint32_t minor = device_class == 2 || random_.OneIn(10) ? random_.Below(3) : 0;
    Request(token, FileId::kNone, OpenRequested{token, ++sequence_, device_class, minor, 2});
  }

  void RequestIoctl(GuestId guest) {
    if (processes_[guest].empty()) return;
    const CallToken token = SomeToken(guest);
    const FileId file = SomeFile(token);
    if (file == FileId::kNone && !random_.OneIn(10)) return RequestOpen(guest);
    const auto known = files_.find({guest, file});
    const DeviceClass device_class = known == files_.end() ? DeviceClass::kCtl : known->second.device_class;
    RandomRequest request = MakeRandomRequest(random_, device_class, HintsFor(token, file));
    Request(token, file,
            IoctlRequested{token, ++sequence_, static_cast<uint32_t>(file), std::move(request.call),
                           std::move(request.files)});
  }

  void Request(const CallToken& token, FileId file, Event event) {
    const bool busy = awaited_.contains(KeyOf(token));
    const size_t actions_before = transcript_.text().size();
    if (!busy) awaited_[KeyOf(token)] = {sequence_, file};
    Step(token.guest, std::move(event));
    if (!busy) return;
    EXPECT_EQ(transcript_.text().size(), actions_before) << "a second call on a lane";
  }

  // Mostly one that the process has opened; else any of any guest, or a number near them.
  FileId SomeFile(const CallToken& token) {
    if (random_.OneIn(20)) return FileId{0x1000 * (1 + random_.Below(4)) + random_.Below(8)};
    std::vector<FileId> files;
    const bool any = random_.OneIn(20);
    for (const auto& [key, file] : files_)
      if (any || (key.first == token.guest && file.opener == token.process)) files.push_back(key.second);
    return files.empty() ? FileId::kNone : files[random_.Below(static_cast<uint32_t>(files.size()))];
  }

  Hints HintsFor(const CallToken& token, FileId file) {
    Hints hints;
    for (int i = 0; i < 4; ++i) hints.files.push_back(static_cast<uint32_t>(SomeFile(token)));
    const bool any = random_.OneIn(4);
    for (const auto& [key, one] : files_)
      if (any || key == std::pair(token.guest, file))
        hints.clients.insert(hints.clients.end(), one.clients.begin(), one.clients.end());
    return hints;
  }

  void HangUpOne() {
    if (files_.empty()) return;
    auto it = files_.begin();
    std::advance(it, random_.Below(static_cast<uint32_t>(files_.size())));
    const auto [guest, file] = it->first;
    Step(guest, FileHungUp{guest, file});
  }

  void Claim(GuestId guest) {
    if (files_.empty() || processes_[guest].empty()) return;
    Step(guest, FileClaimed{guest, files_.begin()->first.second, static_cast<uint32_t>(SomeProcess(guest))});
  }

  // The driver tells of a file of this guest, or of one that it closed or never opened.
  void Signal(GuestId guest) {
    const DriverFileId file = 1 + random_.Below(kDriverFilesNear);
    if (driver_.Owns(guest, file) || !driver_.IsOpen(file)) Step(guest, FileSignalled{file});
  }

  // What a confused worker might say.
  void Stray(GuestId guest) {
    const CallToken token{guest, ProcessId{1 + random_.Below(40)}, random_.Below(70)};
    if (!awaited_.contains(KeyOf(token))) Step(guest, DriverReturned{token, 0, {}});
    Step(guest, FileHungUp{guest, FileId{random_.Below(0x4000)}});
  }

  // ---- The driver ----

  void AnswerOne() {
    if (driver_queue_.empty()) return;
    const size_t at = random_.Below(static_cast<uint32_t>(driver_queue_.size()));
    Action action = std::move(driver_queue_[at]);
    driver_queue_.erase(driver_queue_.begin() + static_cast<ptrdiff_t>(at));
    if (auto* open = std::get_if<DriverOpen>(&action)) {
      const bool fails = random_.OneIn(12);
      const GuestId guest = open->token.guest;
      const DriverFileId file = fails ? 0 : driver_.Open(guest, open->node);
      return Step(guest, DriverOpened{open->token, {fails ? EMFILE : 0, file}});
    }
    auto& ioctl = std::get<DriverIoctl>(action);
    ASSERT_TRUE(driver_.IsOpen(ioctl.file)) << "closed under the call";
    for (const CallFile& file : ioctl.call.files)
      ASSERT_TRUE(driver_.IsOpen(file.file)) << "closed under the call";
    const int error = random_.OneIn(20) ? EIO : 0;
    if (error == 0) driver_.Execute(ioctl.file, ioctl.call, random_.OneIn(12) ? 0x51 : 0);
    Step(ioctl.token.guest, DriverReturned{ioctl.token, error, std::move(ioctl.call)});
  }

  // ---- Actions ----

  void Do(DriverOpen& one) {
    EXPECT_EQ(one.token.guest, guest_);
    driver_queue_.push_back(one);
  }
  void Do(DriverIoctl& one) {
    EXPECT_EQ(one.token.guest, guest_);
    driver_.CheckBelongsTo(guest_, one.file, one.call);
    driver_queue_.push_back(std::move(one));
  }
  void Do(DriverClose& one) {
    EXPECT_TRUE(driver_.Owns(guest_, one.file)) << "another guest's file, or closed twice";
    driver_.Close(one.file);
  }
  void Do(ReplyOpen& one) {
    Answered(one.token, one.sequence);
    if (one.error != 0) return;
    EXPECT_FALSE(gone_.contains(one.token.process)) << "a file for a process that has left";
    const WorkersFile file = {one.token.process, one.node.device_class, {}};
    EXPECT_TRUE(files_.insert({{guest_, one.file}, file}).second) << "an id in use";
    if (random_.OneIn(30)) hang_up_next_.push_back(one.file);  // the placeholder could not be made
  }
  void Do(ReplyIoctl& one) {
    const FileId on = Answered(one.token, one.sequence);
    NoteClient(on, one);
    if (one.mapping == 0) return;
    EXPECT_FALSE(gone_.contains(one.token.process));
    EXPECT_TRUE(driver_.Owns(guest_, one.mapping));
    driver_.Close(one.mapping);
  }
  void Do(ClosePlaceholder& one) {
    EXPECT_EQ(one.guest, guest_);
    EXPECT_EQ(files_.erase({guest_, one.file}), 1u);
  }
  void Do(SignalFile& one) {
    EXPECT_EQ(one.guest, guest_);
    EXPECT_TRUE(files_.contains({guest_, one.file})) << "of a file that is closed";
  }
  void Do(NoteRefusal& one) { EXPECT_EQ(one.guest, guest_); }

  // Returns the file that the call was on.
  FileId Answered(const CallToken& token, uint32_t sequence) {
    EXPECT_EQ(token.guest, guest_);
    const auto it = awaited_.find(KeyOf(token));
    EXPECT_TRUE(it != awaited_.end()) << "a reply to nothing";
    if (it == awaited_.end()) return FileId::kNone;
    EXPECT_EQ(it->second.first, sequence);
    const FileId file = it->second.second;
    awaited_.erase(it);
    return file;
  }

  // Remembers the clients that guests made, so that requests can name them.
  void NoteClient(FileId on, const ReplyIoctl& reply) {
    const auto file = files_.find({guest_, on});
    if (file == files_.end() || reply.error != 0 || abi::IocNumber(reply.call.command) != 0x2b) return;
    if (Get<uint32_t>(reply.call.Bytes(0), 12) == 0x41)
      file->second.clients.push_back(Get<uint32_t>(reply.call.Bytes(0), 8));
  }

  void Check() {
    for (uint32_t number = 1; number <= kGuests; ++number) {
      const GuestId guest{number};
      const GuestStatisticsView counts = core_.Statistics(guest);
      EXPECT_EQ(counts.clients, driver_.clients(guest));
      EXPECT_EQ(counts.objects, driver_.objects(guest));
      const uint64_t memory_bytes = driver_.memory_bytes(guest) + MemoryInFlightBytes(guest);
      EXPECT_EQ(counts.memory_bytes, memory_bytes);
      if (guest != kWithoutQuota) {
        EXPECT_LE(memory_bytes, kQuotaBytes + kRoundingBytesMax);
      }
    }
  }

  // Asked of the driver, and not answered yet.
  uint64_t MemoryInFlightBytes(GuestId guest) const {
    uint64_t sum = 0;
    for (const Action& action : driver_queue_)
      if (const auto* ioctl = std::get_if<DriverIoctl>(&action); ioctl && ioctl->token.guest == guest)
        sum += ModelDriver::MemoryAskedBytes(ioctl->call);
    return sum;
  }

  Random random_;
  Core core_;
  ModelDriver driver_;
  GuestId guest_{};
  std::vector<Event> events_;
  Transcript transcript_;
  std::map<GuestId, std::set<ProcessId>> processes_;
  std::set<ProcessId> gone_;
  // Accepted and not yet answered: the sequence, and the file it is on.
  std::map<TokenKey, std::pair<uint32_t, FileId>> awaited_;
  std::vector<Action> driver_queue_;  // opens and ioctls that the driver has not answered
  std::map<std::pair<GuestId, FileId>, WorkersFile> files_;  // open, as the worker knows
  std::vector<FileId> hang_up_next_;
  uint32_t last_process_ = 0;
  uint32_t sequence_ = 0;
};

void RunHistory(uint64_t seed) {
  SCOPED_TRACE("NVSHIM_SEED=" + std::to_string(seed));
  History history(seed);
  // Of many lengths, so that the end comes at every point of a call's life; some long enough for tables to
  // grow.
  Random length(~seed);
  const uint32_t steps = length.Below(seed % 4 == 0 ? 4000 : 500);
  for (uint32_t i = 0; i < steps && !::testing::Test::HasFailure(); ++i) history.RunStep();
  if (::testing::Test::HasFailure()) return;
  history.End();
  history.ExpectReplayAgrees();
}

TEST(CoreHistoryTest, WhateverHappensCountsAgreeAndNothingIsLeft) {
  if (const char* seed = std::getenv("NVSHIM_SEED")) return RunHistory(std::strtoull(seed, nullptr, 0));
  for (uint64_t seed = 1; seed <= 200 && !HasFailure(); ++seed) RunHistory(seed);
}

// Every run goes where none has been.
TEST(CoreHistoryTest, AlsoUnderASeedNobodyHasChosen) {
  std::random_device device;
  for (int i = 0; i < 20 && !HasFailure(); ++i) RunHistory(uint64_t{device()} << 16 | device() % 0xffff);
}

}  // namespace
}  // namespace nvshim::broker
