// The broker's judgement: Step(event) -> actions. Pure: no system call, clock, thread, log or randomness, so
// the same events give the same actions, and millions of random histories can be driven through it in a test.
// The one thing that comes in from elsewhere is what other workers hold of a uid (ledger.h). The core
// trusts the driver's answers and the ids the worker minted; everything a guest wrote it looks up or
// checks.
//
//   IoctlRequested -> request_check -> handle_table, file_table, translate -> DriverIoctl
//   DriverReturned -> record what was made or freed -> translate back       -> ReplyIoctl
#ifndef BROKER_CORE_CORE_H_
#define BROKER_CORE_CORE_H_

#include <memory>
#include <optional>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "broker/core/action.h"
#include "broker/core/event.h"
#include "broker/core/guest.h"
#include "broker/core/statistics.h"
#include "proto/abi/spec.h"

namespace nvshim::broker {

class Core {
 public:
  // `table` must live as long as the core; `verdicts` are of that table; `gpu_minors` are the GPUs every
  // guest sees.
  Core(const abi::Table* table, Verdicts verdicts, std::vector<uint32_t> gpu_minors);
  // Without a policy: guests get what the table does not withhold.
  Core(const abi::Table* table, std::vector<uint32_t> gpu_minors);

  // Takes one event and appends what is to be done. Events of guests and processes that are gone do nothing,
  // except that driver files they opened are closed.
  void Step(Event event, std::vector<Action>* actions);

  // Whether `process` may name `file_id` now. A worker reads the placeholder's claims before it lets a frame
  // be refused for this.
  bool Holds(GuestId guest, ProcessId process, uint32_t file_id_untrusted);

  // When the next frame of `process` may be served, by the clock that says `now_ns`: at once, or later when
  // its guest or its uid has a rate and keeps to it so. Each question is for one frame; they are served in
  // order.
  uint64_t NextFrameNs(GuestId guest, ProcessId process, uint64_t now_ns);
  bool HasFrameRate(GuestId guest, ProcessId process);

  // Whether ProcessAttached has found room for the process, and it has not gone.
  bool IsAttached(GuestId guest, ProcessId process);

  GuestStatisticsView Statistics(GuestId guest) const;

 private:
  using Actions = std::vector<Action>;

  void On(GuestAdded event, Actions* actions);
  void On(UidAdded event, Actions* actions);
  void On(LimitsChanged event, Actions* actions);
  void On(PolicyChanged event, Actions* actions);
  void On(GuestRemoved event, Actions* actions);
  void On(ProcessAttached event, Actions* actions);
  void On(OpenRequested event, Actions* actions);
  void On(IoctlRequested event, Actions* actions);
  void On(DriverOpened event, Actions* actions);
  void On(DriverReturned event, Actions* actions);
  void On(FileClaimed event, Actions* actions);
  void On(FileHungUp event, Actions* actions);
  void On(FileSignalled event, Actions* actions);
  void On(ProcessGone event, Actions* actions);

  Guest* FindGuest(GuestId guest);
  // The process and its lane's call; null when either is gone.
  PendingCall* FindCall(const CallToken& token, Guest** guest, Process** process);
  // The same for a new request: false also when the process has left or has a call on this lane. `pending` is
  // null when the guest may have no more lanes.
  bool FindIdleCall(const CallToken& token, Guest** guest, Process** process, PendingCall** pending);
  static Account& AccountOf(Guest& guest, uint32_t uid);
  Account* FindAccount(GuestId guest, ProcessId process);

  // What is wrong with the request beyond its layout; else it is ready for the driver.
  std::optional<Refusal> Prepare(Guest& guest, Account& account, const IoctlRequested& event, File& file,
                                 PendingCall& pending, DriverCall& call);
  // What the call makes, a client or an object, is charged before the driver sees it.
  std::optional<Refusal> PrepareExports(Guest& guest, Account& account, PendingCall& pending,
                                        DriverCall& call);
  std::optional<Refusal> TakeCharges(Account& account, Resource made, const DriverCall& call,
                                     PendingCall& pending);
  std::optional<Refusal> AttachFiles(Guest& guest, const IoctlRequested& event, File& file,
                                     PendingCall& pending, DriverCall& call);
  std::optional<Refusal> AttachFile(Guest& guest, const IoctlRequested& event, uint32_t segment,
                                    const abi::FdField& fd, PendingCall& pending, DriverCall& call);
  void SendToDriver(Guest& guest, File& file, const CallToken& token, PendingCall& pending, DriverCall call,
                    Actions* actions);
  void Refuse(const CallToken& token, uint32_t sequence, const Refusal& refusal, const CheckedCall& checked,
              const std::vector<uint8_t>& original, DriverCall call, Actions* actions);
  void Note(Guest& guest, GuestId id, const Refusal& refusal, Actions* actions);
  void NoteShadow(Guest& guest, GuestId id, const CheckedCall& checked, Actions* actions);
  void FinishOpen(Guest& guest, const CallToken& token, const Process& process, PendingCall& pending,
                  OpenResult result, Actions* actions);
  // Takes account of what went into a file, or came out of it.
  void FinishExports(Guest& guest, PendingCall& pending, bool succeeded, DriverCall& call);
  void EndCall(Guest& guest, const CallToken& token, Process& process, PendingCall& pending);
  // The fresh file of a mapping is there, or not: the call goes on with it, or ends.
  void FinishOpenMapping(Guest& guest, const CallToken& token, Process& process, PendingCall& pending,
                         OpenResult result, Actions* actions);
  // One call less uses the file; closes it if that was the last of a file that is hung up.
  void EndUse(Guest& guest, GuestId id, FileId file, Actions* actions);
  void CloseIfIdle(Guest& guest, GuestId id, File& file, Actions* actions);

  const abi::Table* table_;
  Verdicts verdicts_;
  std::vector<uint32_t> gpu_minors_;
  absl::flat_hash_map<GuestId, std::unique_ptr<Guest>> guests_;
  // Whose a driver file is: one entry for each open file of each guest.
  struct Owner {
    GuestId guest;
    FileId file;
  };
  absl::flat_hash_map<DriverFileId, Owner> owners_;
};

}  // namespace nvshim::broker

#endif  // BROKER_CORE_CORE_H_
