// What a worker does, one step at a time: broker/worker without its loop, sockets and threads, so that a test
// decides when what happens. The core, the codec, the lanes and the regions are the real ones; descriptors go
// nowhere. Holds everything it carries out to three laws: an action concerns the guest whose event led to it,
// a call that was accepted has one reply, of its own number and on its own lane, and a driver file is used
// while it is open, by the guest that opened it, and closed once.
#ifndef TESTING_SIM_WORLD_BARE_WORKER_H_
#define TESTING_SIM_WORLD_BARE_WORKER_H_

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "broker/core/core.h"
#include "broker/driver/driver.h"
#include "broker/io/frame_codec.h"
#include "broker/worker/process_port.h"

namespace nvshim::testing {

// A transport that reaches nobody: the guest's side looks at the region.
class LocalTransport final : public broker::Transport {
 public:
  LocalTransport() : region_(*broker::Region::Create()) {}
  broker::Region& region() override { return region_; }
  int doorbell() const override { return -1; }
  void SilenceDoorbell() override {}
  int channel() const override { return -1; }
  bool SendWelcome(const Welcome&) override { return true; }
  bool SendFd(uint32_t, uint32_t, int) override { return true; }
  void Wake(uint32_t) override {}
  void WakeDoorbellWatch() override {}

 private:
  broker::Region region_;
};

class BareWorker {
 public:
  using ProcessKey = std::pair<broker::GuestId, broker::ProcessId>;

  // Of a guest that sees the first GPU. `table` and `driver` live as long as this.
  BareWorker(const abi::Table& table, broker::Verdicts verdicts, broker::Driver* driver);
  virtual ~BareWorker() = default;

  // One event, with everything that follows from it at once.
  void Step(broker::Event event);

  broker::ProcessPort& Attach(broker::GuestId guest, broker::ProcessId process);
  // The process is gone, or has broken the protocol.
  void Drop(const ProcessKey& key);
  broker::ProcessPort* PortOf(const ProcessKey& key);

  // Takes one frame. False when there is none; a guest that breaks the protocol has `broken` set.
  bool ServeLane(broker::ProcessPort& port, uint32_t lane);

  broker::GuestStatisticsView Statistics(broker::GuestId guest) const { return core_.Statistics(guest); }
  // Calls that were accepted and are not answered.
  size_t awaited() const { return awaited_.size(); }
  // Driver files that are open.
  size_t driver_files() const { return owners_.size(); }

 protected:
  // A law is broken: says which.
  virtual void Break(const std::string& law) = 0;

  // What the driver is asked; the answer may come at any time, by Step.
  virtual void Carry(broker::DriverOpen& open);
  virtual void Carry(broker::DriverIoctl& ioctl);
  // Whether the guest takes the descriptor that belongs to a reply.
  virtual bool HandOver(const broker::CallToken& /*token*/) { return true; }
  // Reads what has been written into a placeholder.
  virtual void Drain(broker::GuestId /*guest*/, broker::FileId /*file*/) {}
  // Told of what has been done.
  virtual void Opened(const broker::ReplyOpen& /*reply*/) {}
  virtual void Answered(const broker::ReplyIoctl& /*reply*/) {}
  virtual void Closed(broker::GuestId /*guest*/, broker::FileId /*file*/) {}
  virtual void ClosedAtDriver(broker::DriverFileId /*file*/) {}
  virtual void Signalled(broker::GuestId /*guest*/, broker::FileId /*file*/) {}
  // Every action, before it is carried out.
  virtual void Note(const broker::Action& /*action*/) {}

  broker::Driver& driver() { return *driver_; }
  // Whose an open driver file is; nothing when it is not open.
  const broker::GuestId* OwnerOf(broker::DriverFileId file) const;
  broker::OpenResult OpenDriverFile(const broker::DriverOpen& open);

 private:
  using TokenKey = std::tuple<broker::GuestId, broker::ProcessId, uint32_t>;
  struct Todo {
    broker::GuestId guest;  // in whose name
    broker::Action action;
  };

  broker::GuestId GuestOf(const broker::Event& event) const;
  void Expect(bool holds, const char* law);
  void Await(const broker::CallToken& token, uint32_t sequence);
  void TakeAwaited(const broker::CallToken& token, uint32_t sequence);

  void Do(broker::GuestId guest, broker::DriverOpen& action);
  void Do(broker::GuestId guest, broker::DriverIoctl& action);
  void Do(broker::GuestId guest, broker::DriverClose& action);
  void Do(broker::GuestId guest, broker::ReplyOpen& action);
  void Do(broker::GuestId guest, broker::ReplyIoctl& action);
  void Do(broker::GuestId guest, broker::ClosePlaceholder& action);
  void Do(broker::GuestId guest, broker::SignalFile& action);
  void Do(broker::GuestId guest, broker::NoteRefusal& action);

  broker::Driver* driver_;
  broker::Core core_;
  std::map<ProcessKey, std::unique_ptr<broker::ProcessPort>> ports_;
  std::map<TokenKey, uint32_t> awaited_;                    // sequence
  std::map<broker::DriverFileId, broker::GuestId> owners_;  // of open driver files
  std::set<std::pair<broker::GuestId, broker::FileId>> placeholders_;
  std::vector<Todo> todos_;
  std::vector<broker::Action> actions_;
  bool stepping_ = false;
  broker::FrameCopy frame_;
  broker::IoctlRequested request_;
};

}  // namespace nvshim::testing

#endif  // TESTING_SIM_WORLD_BARE_WORKER_H_
