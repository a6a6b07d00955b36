// The channels of one simulated machine, and their turns at the engine: each gets a bounded piece of work,
// one after the other, so that a channel that waits or never ends delays no other. Runs under the driver's
// lock.
#ifndef BROKER_DRIVER_SIM_CHANNELS_H_
#define BROKER_DRIVER_SIM_CHANNELS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "broker/driver/sim/address_space.h"
#include "broker/driver/sim/engine/channel.h"
#include "broker/driver/sim/memory.h"
#include "broker/driver/sim/os_events.h"

namespace nvshim::broker::sim {

// A channel with all it runs on. The object tree owns it: a freed channel executes nothing more.
struct SimChannel {
  SimChannel(uint64_t fifo_address, uint32_t entries) : engine(fifo_address, entries) {}

  engine::Channel engine;
  std::shared_ptr<AddressSpace> space;
  std::shared_ptr<Memory> userd;
  uint64_t userd_offset = 0;
  uint64_t group = 0;                    // channels of one group stop together; 0 is none
  std::shared_ptr<Memory> notifier;      // where RM tells of errors; may be null
  std::shared_ptr<ClientEvents> events;  // who hears its interrupts
  uint32_t gpu = 0;
  uint32_t interrupt = 0;  // NV2080_NOTIFIERS_* of its engine
  bool stopped = false;
};

// What becomes of programs for the shader cores, of which none can be run.
struct KernelLaunches {
  bool skip = false;     // complete without effect; else the channel stops
  uint64_t skipped = 0;  // how many did
};

class Channels {
 public:
  Channels(FileSignals& signals, std::function<void(std::string_view)> log)
      : signals_(signals), log_(std::move(log)) {}

  // False when kChannelsMax are alive.
  bool Add(const std::shared_ptr<SimChannel>& channel);

  enum class Round : uint8_t {
    kProgress,  // a channel did something
    kWaiting,   // none did, but one waits for a semaphore that anybody may write
    kIdle,      // none has work
  };

  // Gives every channel a turn, or as many as fit into a bounded round; the next round goes on after them.
  Round RunOnce(BackingCount& backings);

  // Whether a channel exists that may be given work.
  bool any() const { return !channels_.empty(); }

  // The number of a new group.
  uint64_t NewGroup() { return ++groups_made_; }

  KernelLaunches launches;

  // How many were ever added.
  uint64_t made() const { return made_; }

 private:
  void Prune();
  void Stop(SimChannel& channel, std::string_view launch, BackingCount& backings);

  FileSignals& signals_;
  std::function<void(std::string_view)> log_;
  size_t faults_told_ = 0;
  uint64_t made_ = 0, groups_made_ = 0;
  size_t next_ = 0;  // whose turn it is
  std::vector<std::weak_ptr<SimChannel>> channels_;
};

}  // namespace nvshim::broker::sim

#endif  // BROKER_DRIVER_SIM_CHANNELS_H_
