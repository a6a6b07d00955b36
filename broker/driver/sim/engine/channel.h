// One GPFIFO channel: walks the ring of entries that the guest fills, decodes the methods in the pushbuffers
// they name, and hands them to the engines. A turn is bounded in methods and bytes, so that no guest keeps
// the thread; a semaphore that is not there yet stalls this channel and no other.
//
//   USERD: GP_PUT (guest) --> GPFIFO ring of 8-byte entries --> pushbuffer: header, data, data, header ...
//
// Everything read here is written by the guest meanwhile: each word is read once, each address resolved at
// use. Once faulted, a channel does nothing more. One thread at a time.
#ifndef BROKER_DRIVER_SIM_ENGINE_CHANNEL_H_
#define BROKER_DRIVER_SIM_ENGINE_CHANNEL_H_

#include <array>
#include <cstdint>
#include <span>
#include <utility>

#include "broker/driver/sim/engine/compute_engine.h"
#include "broker/driver/sim/engine/copy_engine.h"
#include "broker/driver/sim/engine/fault.h"
#include "broker/driver/sim/engine/host.h"

namespace nvshim::broker::sim::engine {

// What a channel may still do in its turn.
struct Budget {
  uint64_t methods;
  uint64_t bytes;
};

// The part of USERD that is used (Nvc56fControl): GP_GET at 0x88, GP_PUT at 0x8c.
inline constexpr uint64_t kUserdBytes = 0x90;

class Channel {
 public:
  // `fifo_address` is the GPU virtual address of the ring. `entries` is not 0.
  Channel(uint64_t fifo_address, uint32_t entries) : fifo_address_(fifo_address), entries_(entries) {}

  enum class State : uint8_t {
    kIdle,     // nothing to do until the guest says so
    kStalled,  // waits for a semaphore
    kMore,     // the budget is spent
    kFaulted,
  };

  // Executes what the guest has queued, within `budget`. `userd` is at least kUserdBytes long.
  State Turn(Host& host, std::span<uint8_t> userd, Budget* budget);

  // Whether anything was executed since this was asked last.
  bool TakeProgress() { return std::exchange(progress_, false); }

  Fault fault() const { return fault_; }
  // The method that faulted and its data; for the log.
  uint32_t fault_class() const { return fault_class_; }
  uint32_t fault_method() const { return fault_method_; }
  uint32_t fault_data() const { return fault_data_; }

 private:
  static constexpr uint32_t kSubchannels = 8;
  // Dwords of a pushbuffer that are fetched at once; a private copy, since the guest may change it.
  static constexpr uint32_t kFetchDwords = 256;

  Fault NextEntry(Host& host, std::span<uint8_t> userd, bool* idle);
  Fault NextDword(Host& host, uint32_t* dword);
  Fault Step(Host& host);
  Fault Header(Host& host, uint32_t header);
  Fault Method(Host& host, uint32_t method, uint32_t data);
  Fault HostMethod(Host& host, uint32_t method, uint32_t data);
  Fault SemaphoreExecute(Host& host, uint32_t execute);
  Fault TryAcquire(Host& host);

  const uint64_t fifo_address_;
  const uint32_t entries_;
  uint32_t get_ = 0;  // the next entry; told to the guest, never read back

  uint64_t extended_base_ = 0;    // upper bits of the addresses of segments
  uint64_t segment_address_ = 0;  // of the next dword to fetch
  uint32_t segment_left_ = 0;     // dwords not fetched yet
  std::array<uint32_t, kFetchDwords> fetched_{};
  uint32_t fetched_at_ = 0, fetched_end_ = 0;

  // The group of methods that is being read.
  uint32_t method_ = 0, subchannel_ = 0, data_left_ = 0, increments_left_ = 0;

  std::array<uint32_t, kSubchannels> classes_{};
  uint64_t semaphore_ = 0, payload_ = 0;
  uint32_t acquire_ = 0;  // SEM_EXECUTE of the acquire that stalls
  bool stalled_ = false;

  CopyEngine copy_;
  ComputeEngine compute_;
  bool progress_ = false;
  Fault fault_ = Fault::kNone;
  uint32_t fault_class_ = 0, fault_method_ = 0, fault_data_ = 0;
};

}  // namespace nvshim::broker::sim::engine

#endif  // BROKER_DRIVER_SIM_ENGINE_CHANNEL_H_
