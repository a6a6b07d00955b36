// The region: the sealed memfd that one guest process shares with its worker.
//
//   0                4096                                     lanes end                    region end
//   | RegionHeader   | lane 0 | lane 1 | ...  | lane N-1      | data pool                  |
//
//   one lane, `kLaneStrideBytes`:
//   | LaneHeader (512)              ... 4096 | request ring (32 KiB) | response ring (32 KiB) |
//
// The broker makes the memfd, sizes it, fills RegionHeader once and seals it (SHRINK, GROW, SEAL); it never
// reads RegionHeader's layout fields back. The guest may scribble over every byte at any time: what the
// broker needs to rely on (sizes, masks, its own cursors) it keeps in private memory.
//
// Who writes what:
//   lanes_pending    guest: fetch_or(bit of lane) after publishing; worker: exchange(0), then looks at those
//   lanes.
//                    A hint: a bit that lies costs one look.
//   worker_waiting   worker: the number of this sleep before it sleeps, never 0 nor the one before; 0 when it
//                    is awake. Guest: after publishing, when it is not 0, writes the doorbell eventfd and
//                    then puts 0 in that number's place. In this order: a signal handler that calls in
//                    between has to ring for itself. Dekker: both sides store, fence seq_cst, then load the
//                    other's word.
//   worker_cpu       worker: number of the CPU it runs on plus one, 0 = unknown. A guest thread on the same
//                    CPU does not spin for its reply: it would only keep the worker from running. A hint.
//   doorbell_state   whether stores to this process' doorbell pages of a simulated GPU are told; a futex word
//                    of the guest. DoorbellState says who writes what.
//   guest_cpu        guest: the same for the thread that published on this lane last, so that the worker
//                    does not spin on that thread's CPU either. A hint.
//   request_tail     guest, release.    request_head   worker, release.
//   response_tail    worker, release; also the futex word the guest sleeps on.
//   response_head    guest, release.
//   guest_waiting    guest: 1 before FUTEX_WAIT(response_tail); worker: exchange(0) after publishing,
//   FUTEX_WAKE if 1.
// Cursors run freely over 2^32; position in the ring = cursor & (ring size - 1).
#ifndef PROTO_WIRE_REGION_H_
#define PROTO_WIRE_REGION_H_

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace nvshim::wire {

inline constexpr uint32_t kRegionMagic = 0x5253564e;  // "NVSR" in memory order
inline constexpr uint32_t kRegionLayoutVersion = 1;

// One bit of lanes_pending each. A 65th thread inside an ioctl at the same moment waits for a lane.
inline constexpr uint32_t kLaneCount = 64;

// Holds the largest frame of every control that clients send (2080a0a7: 14,988 bytes, UVM 9,264) twice over;
// more goes through the pool.
inline constexpr uint32_t kRingSizeBytes = 32u << 10;

// Four concurrent calls of the largest size in use (229,392 bytes, NV00FE_CTRL_CMD_SUBMIT_OPERATIONS), or one
// with a full 1 MiB list.
inline constexpr uint32_t kPoolSizeBytes = 2u << 20;

inline constexpr uint32_t kPageSizeBytes = 4096;

// A store to a doorbell page makes no system call. So that a simulated GPU with nothing to do needs not look
// for work, the guest can protect its pages: the first store faults, lifts the protection and rings.
//
//   kNone --guest--> kOpen --worker, futex wake--> kAsked --guest, pages protected--> kArmed
//                      ^---------------- guest, before the store goes through -----------'
//
// kNone is a guest that does not take part. Whatever the guest writes here delays its own work only.
enum DoorbellState : uint32_t {
  kDoorbellNone = 0,
  kDoorbellOpen = 1,
  kDoorbellAsked = 2,
  kDoorbellArmed = 3
};

// What stands in worker_waiting of a new region: the first frame rings.
inline constexpr uint32_t kFirstSleep = 1;

struct RegionHeader {
  uint32_t magic;           // kRegionMagic
  uint32_t layout_version;  // kRegionLayoutVersion
  uint64_t region_size_bytes;
  uint32_t lane_count;
  uint32_t lane_stride_bytes;
  uint32_t lanes_offset;
  uint32_t ring_size_bytes;
  uint32_t pool_offset;
  uint32_t pool_size_bytes;
  uint8_t reserved0[88];                // 0
  std::atomic<uint64_t> lanes_pending;  // byte 128
  uint8_t reserved1[56];
  std::atomic<uint32_t> worker_waiting;  // byte 192
  std::atomic<uint32_t> worker_cpu;      // byte 196
  uint8_t reserved2[56];
  std::atomic<uint32_t> doorbell_state;  // byte 256
  uint8_t reserved3[60];
};
static_assert(sizeof(RegionHeader) == 320);
static_assert(offsetof(RegionHeader, lanes_pending) == 128, "its own cache line: every call writes it");
static_assert(offsetof(RegionHeader, worker_waiting) == 192, "its own cache line: every call reads it");
static_assert(offsetof(RegionHeader, doorbell_state) == 256, "its own cache line: the engine looks at it");
static_assert(offsetof(RegionHeader, worker_cpu) == 196, "read together with worker_waiting, rarely written");

struct LaneHeader {
  std::atomic<uint32_t> request_tail;  // byte 0
  std::atomic<uint32_t> guest_cpu;     // byte 4
  uint8_t reserved0[56];
  std::atomic<uint32_t> request_head;  // byte 64
  uint8_t reserved1[60];
  std::atomic<uint32_t> response_tail;  // byte 128
  uint8_t reserved2[60];
  std::atomic<uint32_t> response_head;  // byte 192
  uint8_t reserved3[60];
  std::atomic<uint32_t> guest_waiting;  // byte 256
  uint8_t reserved4[252];
};
static_assert(sizeof(LaneHeader) == 512);
static_assert(offsetof(LaneHeader, guest_cpu) == 4, "on a line that the worker reads anyway");
static_assert(offsetof(LaneHeader, request_head) == 64, "one writer per cache line");
static_assert(offsetof(LaneHeader, response_tail) == 128);
static_assert(offsetof(LaneHeader, response_head) == 192);
static_assert(offsetof(LaneHeader, guest_waiting) == 256);
static_assert(std::atomic<uint32_t>::is_always_lock_free && std::atomic<uint64_t>::is_always_lock_free,
              "a lock of one process would mean nothing to the other");
static_assert(sizeof(std::atomic<uint32_t>) == 4 && sizeof(std::atomic<uint64_t>) == 8);

inline constexpr uint32_t kLanesOffset = kPageSizeBytes;
inline constexpr uint32_t kRingsOffsetInLane = kPageSizeBytes;
inline constexpr uint32_t kLaneStrideBytes = kRingsOffsetInLane + 2 * kRingSizeBytes;
inline constexpr uint32_t kPoolOffset = kLanesOffset + kLaneCount * kLaneStrideBytes;
inline constexpr uint64_t kRegionSizeBytes = uint64_t{kPoolOffset} + kPoolSizeBytes;
static_assert((kRingSizeBytes & (kRingSizeBytes - 1)) == 0, "positions are taken by mask");
static_assert(kLaneCount <= 64, "lanes_pending has 64 bits");
static_assert(kPoolOffset % kPageSizeBytes == 0);

// Places inside a mapped region. `base` is page-aligned and kRegionSizeBytes long.
inline RegionHeader* HeaderOf(void* base) { return static_cast<RegionHeader*>(base); }
inline LaneHeader* LaneOf(void* base, uint32_t lane) {
  return reinterpret_cast<LaneHeader*>(static_cast<uint8_t*>(base) + kLanesOffset + lane * kLaneStrideBytes);
}
inline uint8_t* RequestRingOf(void* base, uint32_t lane) {
  return reinterpret_cast<uint8_t*>(LaneOf(base, lane)) + kRingsOffsetInLane;
}
inline uint8_t* ResponseRingOf(void* base, uint32_t lane) {
  return RequestRingOf(base, lane) + kRingSizeBytes;
}
inline uint8_t* PoolOf(void* base) { return static_cast<uint8_t*>(base) + kPoolOffset; }

}  // namespace nvshim::wire

#endif  // PROTO_WIRE_REGION_H_
