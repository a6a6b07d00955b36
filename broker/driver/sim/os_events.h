// How an interrupt reaches somebody who polls a device file. A client makes an OS event on a file, under a
// number of its choice (its own descriptor's), and then event objects that say what to tell it of:
//
//   channel --interrupt--> listeners of its client --> their OS events --> files --> FileSignals --> the
//   worker
//
// Interrupts go to the client that owns the channel. The real driver tells every client that listens to that
// engine of that GPU; a wake-up for nothing is all that the others get out of it, and here they may be other
// guests. Under the driver's lock, except where FileSignals says otherwise.
#ifndef BROKER_DRIVER_SIM_OS_EVENTS_H_
#define BROKER_DRIVER_SIM_OS_EVENTS_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "broker/driver/driver.h"
#include "broker/driver/sim/nv.h"

namespace nvshim::broker::sim {

// The files that are to be woken: a set, so that it is never larger than the number of open files however
// often they are signalled. Has a lock of its own, because whoever takes them must not wait for the engine.
class FileSignals {
 public:
  FileSignals();
  FileSignals(const FileSignals&) = delete;
  FileSignals& operator=(const FileSignals&) = delete;
  ~FileSignals();

  // Polls readable while there is something to take; -1 when the machine was short of descriptors.
  int fd() const { return fd_; }

  void Add(DriverFileId file);
  // The file is closed.
  void Remove(DriverFileId file);
  // Appends what there is.
  void Take(std::vector<DriverFileId>* files);

 private:
  int fd_;
  std::mutex mutex_;
  absl::flat_hash_set<DriverFileId> files_;
};

// Counts the OS events alive, so that kOsEventsMax holds over all guests of one driver.
struct OsEventCount {
  size_t alive = 0;
};

// What NV_ESC_ALLOC_OS_EVENT makes. Outlives its file without effect.
struct OsEvent {
  OsEvent(std::weak_ptr<const DriverFileId> its_file, OsEventCount& its_count)
      : file(std::move(its_file)), count(its_count) {
    ++count.alive;
  }
  OsEvent(const OsEvent&) = delete;
  OsEvent& operator=(const OsEvent&) = delete;
  ~OsEvent() { --count.alive; }

  std::weak_ptr<const DriverFileId> file;
  OsEventCount& count;
};

// What an NV01_EVENT_OS_EVENT object stands for; the object owns it.
struct EventListener {
  std::weak_ptr<OsEvent> os_event;
  bool to_interrupts = false;  // of an engine; others hear of channels that stop, and nothing else
  uint32_t gpu = 0;
  uint32_t notifier = 0;  // NV2080_NOTIFIERS_*
};

// The events of one client.
class ClientEvents {
 public:
  // NV_ESC_ALLOC_OS_EVENT and NV_ESC_FREE_OS_EVENT, with their statuses. Listeners of a freed OS event stay
  // and wake nobody, also when its number is used again.
  NvStatus Allocate(uint32_t number, const std::shared_ptr<const DriverFileId>& file, OsEventCount& count);
  NvStatus Free(uint32_t number);

  // Listens on behalf of the OS event `number` until the listener is gone. NV_ERR_OBJECT_NOT_FOUND without
  // such an event, as in RM.
  NvStatus Listen(uint32_t number, EventListener listener, std::shared_ptr<EventListener>* made);

  // An engine has raised a non-stalling interrupt.
  void Interrupt(uint32_t gpu, uint32_t notifier, FileSignals& signals);
  // A channel has stopped: whoever waits for its work must look.
  void SignalAll(FileSignals& signals);

 private:
  void Prune();

  absl::flat_hash_map<uint32_t, std::shared_ptr<OsEvent>> os_events_;
  std::vector<std::weak_ptr<EventListener>> listeners_;
};

}  // namespace nvshim::broker::sim

#endif  // BROKER_DRIVER_SIM_OS_EVENTS_H_
