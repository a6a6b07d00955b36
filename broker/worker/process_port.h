// One attached guest process as its worker sees it: the transport, the lanes, and whether it is being polled.
// Sleeping processes cost nothing: their doorbell wakes the worker, which then polls the process until it has
// been quiet for a while.
#ifndef BROKER_WORKER_PROCESS_PORT_H_
#define BROKER_WORKER_PROCESS_PORT_H_

#include <array>
#include <cstdint>
#include <memory>
#include <utility>

#include "broker/core/ids.h"
#include "broker/driver/driver.h"
#include "broker/io/frame_codec.h"
#include "broker/io/server_lane.h"
#include "broker/io/transport.h"

namespace nvshim::broker {

// The doorbell pages of a process, through the state word of its region.
class PortDoorbell final : public Doorbell {
 public:
  explicit PortDoorbell(Transport* transport) : transport_(transport) {}

  void Arm() override {
    uint32_t open = wire::kDoorbellOpen;
    if (state().compare_exchange_strong(open, wire::kDoorbellAsked, std::memory_order_acq_rel))
      transport_->WakeDoorbellWatch();
  }
  bool armed() override { return state().load(std::memory_order_acquire) == wire::kDoorbellArmed; }

 private:
  std::atomic<uint32_t>& state() { return transport_->region().doorbell_state(); }

  Transport* transport_;
};

struct ProcessPort {
  ProcessPort(GuestId guest_id, ProcessId process_id, std::unique_ptr<Transport> its_transport)
      : guest(guest_id), process(process_id), transport(std::move(its_transport)) {
    for (uint32_t i = 0; i < wire::kLaneCount; ++i) lanes[i] = ServerLane(transport->region(), i);
  }

  // Lanes that have, by the guest's word, something to say; clears the word.
  uint64_t TakePending() {
    std::atomic<uint64_t>& pending = transport->region().lanes_pending();
    if (pending.load(std::memory_order_relaxed) == 0) return 0;
    return pending.exchange(0, std::memory_order_acquire);
  }

  // Asks for the doorbell. False when something arrived meanwhile: then the process must be served first.
  bool ArmDoorbell() {
    if (++sleeps == 0) ++sleeps;
    transport->region().worker_waiting().store(sleeps, std::memory_order_relaxed);
    // Pairs with the guest's fence between publishing and looking at worker_waiting: one of the two sees the
    // other.
    std::atomic_thread_fence(std::memory_order_seq_cst);
    return transport->region().lanes_pending().load(std::memory_order_relaxed) == 0;
  }

  void DisarmDoorbell() { transport->region().worker_waiting().store(0, std::memory_order_relaxed); }

  // Tells the guest's threads where the worker runs, `cpu` being a CPU's number plus one.
  void TellCpu(uint32_t cpu) {
    if (told_cpu == cpu) return;
    told_cpu = cpu;
    transport->region().worker_cpu().store(cpu, std::memory_order_relaxed);
  }

  // After a reply: wakes the thread that sleeps for it, if it does.
  void WakeIfWaiting(uint32_t lane) {
    // Pairs with the guest's fence between guest_waiting = 1 and its last look at response_tail.
    std::atomic_thread_fence(std::memory_order_seq_cst);
    std::atomic<uint32_t>& waiting = transport->region().guest_waiting(lane);
    if (waiting.load(std::memory_order_relaxed) == 0) return;
    waiting.store(0, std::memory_order_relaxed);
    transport->Wake(lane);
  }

  GuestId guest;
  ProcessId process;
  std::unique_ptr<Transport> transport;
  std::array<ServerLane, wire::kLaneCount> lanes;
  std::array<SegmentPlaces, wire::kLaneCount> places;
  std::unique_ptr<PortDoorbell> gpu_doorbell;  // from the first page of doorbells on; known to the driver
  uint32_t told_cpu = 0;                       // what TellCpu wrote last
  uint32_t sleeps = wire::kFirstSleep;         // which one it is
  bool rated = false;                          // its guest or its uid has a rate of frames
  uint64_t late_lanes = 0;                     // whose frames wait for their turn
  bool late_timer = false;                     // is set for the first of them
  std::array<uint64_t, wire::kLaneCount> due_ns{};  // when that is, of the late lanes
  bool polled = false;  // in the worker's list of processes that are looked at in every turn
  bool broken = false;  // has violated the protocol or cannot be reached: dropped at the end of the turn
};

}  // namespace nvshim::broker

#endif  // BROKER_WORKER_PROCESS_PORT_H_
