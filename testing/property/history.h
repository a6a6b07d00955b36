// One history of several guests through the real core: ordinary calls, nonsense, driver errors, files that
// hang up and processes that die at any step, answers of the driver in any order. Plays the worker and the
// driver, and holds the core to the invariants after each step:
//
//   * what the core does in a guest's name, it does to that guest's files and clients only;
//   * no pointer and no number of a descriptor of a guest's reaches the driver, and none of the driver's a
//   guest;
//   * nothing reaches the driver that the policy denies;
//   * a call that was accepted gets one reply, and only one;
//   * the ledger's sums, of guests and of users, are what is there by the model; none is beyond its limit,
//   and at the end all are zero;
//   * the same events once more give the same actions.
#ifndef TESTING_PROPERTY_HISTORY_H_
#define TESTING_PROPERTY_HISTORY_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "broker/core/core.h"
#include "broker/io/uid_sheet.h"
#include "proto/abi/spec.h"
#include "testing/property/laws.h"
#include "testing/property/model_driver.h"
#include "testing/property/random_request.h"
#include "testing/property/transcript.h"

namespace nvshim::broker {

class History {
 public:
  // `verdicts` are of `table`.
  History(const abi::Table& table, Verdicts verdicts);

  // One thing happens; `random` says which. Nothing does once something has gone wrong.
  void RunStep(Random& random);

  // Everybody dies, and the driver answers what it has, in any order.
  void End(Random& random);

  // The first thing that went wrong, or "".
  const std::string& problem() const { return problem_; }

  // Whether the core does the same once more.
  bool ReplayAgrees() const;

  // Events so far: what a step is, as it comes to the core.
  size_t events() const { return events_.size(); }

 private:
  using TokenKey = std::tuple<GuestId, ProcessId, uint32_t>;
  static TokenKey KeyOf(const CallToken& token) { return {token.guest, token.process, token.lane}; }

  // An open file, as the worker and its guest know it.
  struct WorkersFile {
    ProcessId opener;
    DeviceClass device_class;
    std::vector<uint32_t> clients;  // that were made on it
  };

  // A call that was accepted and has no reply yet.
  struct Awaited {
    uint32_t sequence = 0;
    FileId file = FileId::kNone;
    DeviceClass device_class = DeviceClass::kCtl;
    DriverCall asked;        // as the guest sent it
    bool is_allowed = true;  // the policy was in force that lets calls pass
  };

  void Expect(bool holds, std::string_view law);

  // Steps the core on behalf of `guest`; none of the actions may concern another.
  // `then` is what the worker does before anything else happens.
  void Step(
      GuestId guest, Event event, const std::function<void()>& then = [] {});
  void Attach(GuestId guest);
  void Die(GuestId guest);
  ProcessId SomeProcess(GuestId guest);
  CallToken SomeToken(GuestId guest);
  void RequestOpen(GuestId guest);
  void RequestIoctl(GuestId guest);
  void Request(const CallToken& token, Awaited awaited, Event event);
  FileId SomeFile(const CallToken& token);
  Hints HintsFor(const CallToken& token, FileId file);
  void HangUpOne();
  void Claim(GuestId guest);
  void Signal(GuestId guest);
  void Stray(GuestId guest);
  void ChangeLimits(GuestId guest);
  void ChangePolicy(GuestId guest);
  void AnswerOne();

  void Do(DriverOpen& one);
  void Do(DriverIoctl& one);
  void Do(DriverClose& one);
  void Do(ReplyOpen& one);
  void Do(ReplyIoctl& one);
  void Do(ClosePlaceholder& one);
  void Do(SignalFile& one);
  void Do(NoteRefusal& one);

  Awaited TakeAwaited(const CallToken& token, uint32_t sequence);
  void NoteClient(FileId on, const ReplyIoctl& reply);
  void CheckCounts();
  Amounts Expected(GuestId guest) const;

  const abi::Table& table_;
  const Verdicts verdicts_;
  const CallLaws laws_;
  bool allows_ = true;  // the policy is `verdicts_`, or nothing passes
  Core core_;
  ModelDriver driver_;
  std::map<uint32_t, std::shared_ptr<UidSheet>> sheets_;  // by uid
  std::map<GuestId, Limits> limits_;
  // What a guest holds beyond a limit that was lowered, it has held before.
  std::map<GuestId, Amounts> most_;
  Random* random_ = nullptr;  // of the step
  std::string problem_;
  GuestId guest_{};
  std::vector<Event> events_;
  Transcript transcript_;
  std::map<GuestId, std::set<ProcessId>> processes_;
  std::set<ProcessId> gone_;
  std::map<TokenKey, Awaited> awaited_;
  std::vector<Action> driver_queue_;  // opens and ioctls that the driver has not answered
  std::map<std::pair<GuestId, FileId>, WorkersFile> files_;  // open, as the worker knows
  std::vector<FileId> hang_up_next_;
  uint32_t last_process_ = 0;
  uint32_t sequence_ = 0;
};

}  // namespace nvshim::broker

#endif  // TESTING_PROPERTY_HISTORY_H_
