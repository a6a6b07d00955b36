// The descriptor of a program's launch (QMD): what surrounds the program, which is what the engine can do
// without running it. Versions 2.4 to 4.0, those that libcuda uses for Ampere, Ada and Hopper. Stateless; the
// words are the guest's and any value may stand anywhere.
#ifndef BROKER_DRIVER_SIM_ENGINE_QMD_H_
#define BROKER_DRIVER_SIM_ENGINE_QMD_H_

#include <array>
#include <cstdint>

#include "broker/driver/sim/engine/fault.h"
#include "broker/driver/sim/engine/host.h"
#include "broker/driver/sim/engine/semaphore.h"

namespace nvshim::broker::sim::engine {

// The longest of them, version 4.0; the older ones have 64 words.
inline constexpr uint32_t kQmdWords = 96, kOldQmdWords = 64;
using QmdWords = std::array<uint32_t, kQmdWords>;

// What a descriptor waits for before its program starts.
struct QmdWait {
  uint32_t counter = 0;   // others that have to be done before
  bool schedule = false;  // somebody has to schedule it, apart from whoever put it there

  bool over() const { return counter == 0 && !schedule; }
};

struct Qmd {
  static constexpr uint32_t kReleases = 3, kDependents = 2;

  struct Completion {
    bool enabled = false;
    Release release;
    bool interrupt = false;
  };
  // Another descriptor that this one acts on when it is done.
  struct Dependent {
    bool enabled = false;
    uint32_t action = 0;  // DEPENDENT_QMD_ACTION
    uint64_t address = 0;
  };

  uint32_t version = 0;  // major in the upper four bits of eight
  bool runs_program = false;
  uint64_t program = 0;
  QmdWait wait;       // as it is now
  QmdWait wait_anew;  // what the descriptor asks for: to be copied to `wait`
  bool copies_wait_when_done = false;
  std::array<Completion, kReleases> completions;
  std::array<Dependent, kDependents> dependents;
};

// REDUCTION_OP of descriptors and of the compute class, the lower three bits.
Reduction ComputeReduction(uint32_t operation);

// Of any version, without looking at the rest.
uint32_t QmdVersion(const QmdWords& words);

// kUnsupported for a version or a kind of descriptor that is not known.
Fault ParseQmd(const QmdWords& words, Qmd* qmd);

// Writes `qmd.wait` into the descriptor at `address`, where hardware keeps it too.
Fault StoreQmdWait(Host& host, uint64_t address, const Qmd& qmd);

}  // namespace nvshim::broker::sim::engine

#endif  // BROKER_DRIVER_SIM_ENGINE_QMD_H_
