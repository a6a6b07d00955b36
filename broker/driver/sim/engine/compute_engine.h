// The compute class of a channel, as far as it needs no shader: inline data written to memory, report
// semaphores, and what surrounds the launch of a program. The program itself is up to the Host, which may
// refuse it: then the launch is a fault. All other methods are state for programs and change nothing. One
// thread at a time.
#ifndef BROKER_DRIVER_SIM_ENGINE_COMPUTE_ENGINE_H_
#define BROKER_DRIVER_SIM_ENGINE_COMPUTE_ENGINE_H_

#include <array>
#include <cstdint>

#include "broker/driver/sim/engine/fault.h"
#include "broker/driver/sim/engine/host.h"
#include "broker/driver/sim/engine/qmd.h"

namespace nvshim::broker::sim::engine {

class ComputeEngine {
 public:
  // Executes one method of class `class_number`; after a launch busy() may be true.
  Fault Method(Host& host, uint32_t class_number, uint32_t method, uint32_t data);

  // Programs that were started by others wait for their turn: no further method may be executed before they
  // are.
  bool busy() const { return waiting_count_ != 0; }

  // Starts the next of them.
  Fault Continue(Host& host);

 private:
  // Programs that start two others each, one below the other: as deep as graphs are expected to be.
  static constexpr uint32_t kWaitingMax = 64;

  // What can be done to a descriptor in memory: SEND_SIGNALING_PCAS2_B_PCAS_ACTION.
  enum class PcasAction : uint32_t {
    kNop = 0,
    kInvalidate = 1,
    kSchedule = 2,
    kInvalidateCopySchedule = 3,
    kDecrementDependence = 7,
    kPrefetch = 8,
    kPrefetchSchedule = 9,
    kInvalidatePrefetchCopySchedule = 10,
    kInvalidatePrefetchCopyForceRequireScheduling = 11,
    kIncrementDependence = 12,
  };

  Fault StartInline(uint32_t launch);
  Fault InlineData(Host& host, uint32_t data);
  Fault Report(Host& host, uint32_t operation);
  Fault WideReport(Host& host, uint32_t execute);
  // What both have in common: `format` is that of the reduction, `interrupts` asks for one after the release.
  Fault Report(Host& host, uint32_t operation, uint32_t format, Release release, bool interrupts);
  Fault InlineQmdWord(Host& host, uint32_t word, uint32_t data);
  Fault Act(Host& host, uint64_t address, PcasAction action);
  Fault Launch(Host& host, uint64_t address, Qmd& qmd);
  Fault Complete(Host& host, const Qmd& qmd);

  uint32_t class_ = 0;
  uint32_t line_length_ = 0, line_count_ = 0;
  uint64_t target_ = 0;
  uint64_t inline_left_ = 0;  // bytes that LOAD_INLINE_DATA still brings
  uint64_t inline_at_ = 0;
  uint64_t report_ = 0;
  uint32_t report_payload_ = 0;
  uint64_t wide_report_ = 0, wide_report_payload_ = 0;

  uint64_t qmd_address_ = 0, inline_qmd_address_ = 0;
  std::array<uint32_t, kOldQmdWords> inline_qmd_{};
  // What programs that are done ask for, last in first out.
  struct Waiting {
    uint64_t address;
    PcasAction action;
  };
  std::array<Waiting, kWaitingMax> waiting_{};
  uint32_t waiting_count_ = 0;
};

}  // namespace nvshim::broker::sim::engine

#endif  // BROKER_DRIVER_SIM_ENGINE_COMPUTE_ENGINE_H_
