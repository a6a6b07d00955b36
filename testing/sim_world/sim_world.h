// A whole system under one seed, on a virtual clock: guests with processes and threads, their regions and
// lanes, a worker with the real core, codec and rings (bare_worker.h), and the simulated driver behind
// faults. The clock picks what happens next, and the seed how long everything takes:
//
//   * guests come and leave, processes attach and die at any moment, with calls under way and frames unread;
//   * honest guests run programs (program.h) that know the answer to each of their calls; wild ones send what
//     random_request.h makes of everybody's numbers, nonsense, and write over their regions;
//   * descriptors are passed to other processes, closed, and die with the last that holds them;
//   * the driver answers at once or late, in any order, fails before or after it has done what it was asked,
//     and tells of events on any file.
//
// After each event the laws hold: those of bare_worker.h, those of property/laws.h for what reaches the
// driver and what a guest reads, an honest guest is answered as if it were alone, the core's counts for it
// are its own, and nobody is beyond a quota. When all have left, nothing is left. One thread; the same seed
// gives the same trace.
#ifndef TESTING_SIM_WORLD_SIM_WORLD_H_
#define TESTING_SIM_WORLD_SIM_WORLD_H_

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "broker/driver/sim/sim_driver.h"
#include "testing/property/laws.h"
#include "testing/property/policy_sets.h"
#include "testing/sim_world/bare_worker.h"
#include "testing/sim_world/clock.h"
#include "testing/sim_world/driver_books.h"
#include "testing/sim_world/guest_region.h"
#include "testing/sim_world/program.h"
#include "testing/sim_world/trace.h"

namespace nvshim::testing {

class SimWorld final : private BareWorker {
 public:
  explicit SimWorld(uint64_t seed);

  // Lets `events` things happen, then has everybody finish or die, and leave.
  void Run(uint64_t events);

  // The law that was broken first, or "".
  const std::string& problem() const { return problem_; }
  const Trace& trace() const { return trace_; }
  uint64_t events() const { return events_; }

  struct Tally {
    uint64_t guests = 0, deaths = 0, calls = 0, faults = 0, late = 0, over_quota = 0, broken = 0;
  };
  const Tally& tally() const { return tally_; }

 private:
  struct Asked {
    uint32_t sequence;
    Call call;
  };
  struct Thread {
    std::vector<Asked> asked;  // and not answered: an honest thread asks once at a time
    bool overlaps = false;     // it has asked before it was answered: the bytes may be those of another call
    bool failed = false;       // the driver was made to fail
    bool over_quota = false;   // it asks for more memory than its guest has left
    Program program;           // of an honest guest
  };
  struct Process {
    std::unique_ptr<GuestRegion> region;
    std::array<Thread, GuestRegion::kLanes> threads;
    bool turn_is_due = false;
    bool has_scribbled = false;  // what it reads may be its own doing
  };
  // What an honest guest has, by its own count.
  struct Client {
    broker::FileId file;
    size_t objects = 0;
    std::map<uint32_t, uint64_t> memory_bytes;  // by object
  };
  struct Tenant {
    bool wild = false;
    uint64_t quota_bytes = 0;
    bool leaves = false;
    std::map<uint32_t, Client> clients;  // of an honest guest, by its number
    uint64_t in_flight_bytes = 0;        // memory that the driver has been asked for
  };
  // A placeholder as its guest has it.
  struct OpenFile {
    broker::DeviceClass device_class{};
    std::set<broker::ProcessId> holders;
    std::set<broker::ProcessId> ever_held;
    std::vector<uint32_t> clients = {};  // that were made on it
    bool hung_up = false;                // and the worker knows
  };
  using FileKey = std::pair<broker::GuestId, broker::FileId>;
  using LaneKey = std::pair<ProcessKey, uint32_t>;

  SimWorld(uint64_t seed, std::unique_ptr<broker::SimDriver> driver);

  // ---- sim_world.cc: time, laws ----
  void Note(std::string event);
  void Note(const broker::Action& action) override { trace_.Add(action); }
  void Break(const std::string& law) override;
  void Expect(bool holds, const char* law);
  void CheckCounts();
  void RunDry();
  uint64_t Soon(uint32_t below_ns) { return random_.Below(below_ns); }

  // ---- guests.cc: who comes and goes ----
  void SomebodyComes();
  void SomebodyGoes();
  void SomethingIsSignalled();
  void AddProcess(broker::GuestId guest);
  void Kill(const ProcessKey& key);
  bool LeaveIfEmpty(broker::GuestId guest);
  void LetGo(const FileKey& key, broker::ProcessId process);
  void HangUpSoon(const FileKey& key);
  void PassOn(const FileKey& key);
  void Drain(broker::GuestId guest, broker::FileId file) override;

  // ---- threads.cc: what they do on their lanes ----
  void RunThread(const ProcessKey& key, uint32_t lane);
  void ActHonest(const ProcessKey& key, uint32_t lane);
  void ActWild(const ProcessKey& key, uint32_t lane);
  void Publish(const ProcessKey& key, uint32_t lane, Call call);
  void PublishNonsense(Process& process, uint32_t lane);
  void Scribble(Process& process);
  void TakeReply(const ProcessKey& key, uint32_t lane);
  void Take(const ProcessKey& key, uint32_t lane, const Call& asked, const GuestRegion::Reply& reply);
  void ReadSegments(const Process& process, uint32_t lane, const std::string& payload,
                    broker::DriverCall* call);
  broker::FileId SomeFile(const ProcessKey& key);
  Process* Find(const ProcessKey& key);
  Thread* ThreadOf(const broker::CallToken& token);
  void Wake(const broker::CallToken& token);

  // ---- worker_side.cc: the worker's turns, the driver and its faults ----
  void TakeTurn(const ProcessKey& key);
  void Carry(broker::DriverOpen& open) override;
  void Carry(broker::DriverIoctl& ioctl) override;
  bool HandOver(const broker::CallToken& token) override;
  void Opened(const broker::ReplyOpen& reply) override;
  void Answered(const broker::ReplyIoctl& reply) override;
  void Closed(broker::GuestId guest, broker::FileId file) override;
  void ClosedAtDriver(broker::DriverFileId file) override;
  void ExpectHeld(const broker::DriverIoctl& ioctl, broker::DriverFileId file);
  void FinishOpen(const broker::DriverOpen& open);
  void Return(broker::DriverIoctl& ioctl, int error);
  int Execute(broker::DriverIoctl& ioctl);
  int FailWithStatus(broker::DriverIoctl& ioctl);
  void Fail(const broker::CallToken& token);
  void Account(Tenant& tenant, const Call& asked, const broker::ReplyIoctl& reply);

  const std::unique_ptr<broker::SimDriver> driver_;
  const broker::PolicySet policy_;
  const broker::CallLaws laws_;
  broker::Random random_;
  VirtualClock clock_;
  Trace trace_;
  Tally tally_;
  uint64_t events_ = 0;
  std::string problem_;
  bool ending_ = false;  // nobody begins anything

  std::map<broker::GuestId, Tenant> tenants_;
  std::map<ProcessKey, Process> processes_;  // that live
  std::map<FileKey, OpenFile> files_;
  std::map<FileKey, std::vector<broker::ProcessId>> claims_;  // written, and not read by the worker
  std::map<LaneKey, Call> asked_;                             // of honest guests, until it is answered
  std::map<LaneKey, uint64_t> asked_bytes_;                   // of memory, with the driver
  DriverBooks books_;
  broker::DriverFileId last_opened_ = 0;
  std::map<broker::DriverFileId, FileKey> placeholder_of_;
  bool serving_ = false;  // what the core wants now, it wants because of a frame
  uint32_t last_guest_ = 0, last_process_ = 0, last_sequence_ = 0;
};

}  // namespace nvshim::testing

#endif  // TESTING_SIM_WORLD_SIM_WORLD_H_
