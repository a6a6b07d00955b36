// One call on a lane: claim, write a frame, publish, wait for the reply, read it, release. Each call of the
// host program holds a lane for itself, so a call that blocks delays no other, and a signal handler that
// calls in the middle of a call takes another lane. No lock is held while waiting, and nothing here is a
// cancellation point. The worker is believed no further than the host program would be harmed: what it writes
// is bounded by what was asked for.
#ifndef PRELOAD_LANE_H_
#define PRELOAD_LANE_H_

#include <atomic>
#include <cstdint>

#include "preload/channel.h"
#include "proto/wire/frame.h"
#include "proto/wire/region.h"
#include "proto/wire/ring.h"

namespace nvshim::preload {

// The lanes of one region. All of its state is private to this process.
class LaneSet {
 public:
  constexpr LaneSet() = default;

  // `region` is mapped, `channel` open; both outlive the set. Without `may_spin` waits sleep at once;
  // with it, they spin where the worker has another CPU.
  void Open(void* region, Channel* channel, bool may_spin);

 private:
  friend class LaneCall;

  struct Lane {
    wire::RingProducer requests;
    wire::RingConsumer responses;
    uint32_t sequence = 0;
  };

  // Index of a lane that is the caller's until Release; waits while all are taken. kLaneCount when the worker
  // is gone.
  uint32_t Claim();
  void Release(uint32_t index);

  // Whether the next wait is worth spinning for, judged by how the last ones ended.
  bool ShouldSpin();
  void NoteSpin(bool answered);

  void* region_ = nullptr;
  Channel* channel_ = nullptr;
  bool may_spin_ = false;
  std::atomic<uint64_t> claimed_{0};  // one bit per lane
  std::atomic<uint32_t> releases_{0};
  std::atomic<uint32_t> waiters_{0};
  std::atomic<uint32_t> misses_{0};  // waits in a row that spinning did not, or would not, have answered
  Lane lanes_[wire::kLaneCount] = {};
};

class LaneCall {
 public:
  explicit LaneCall(LaneSet& lanes) : lanes_(lanes), index_(lanes.Claim()) {}
  ~LaneCall();
  LaneCall(const LaneCall&) = delete;
  LaneCall& operator=(const LaneCall&) = delete;

  // Starts the frame: header and body. `payload_size_bytes` is the sum of AlignUp8 of what Write will bring.
  // False when the worker is gone.
  bool Begin(wire::FrameKind kind, uint32_t file_id, Bytes body, uint32_t payload_size_bytes);

  // Appends one segment and its padding.
  void Write(const void* bytes, uint32_t size_bytes);

  // Publishes the frame and waits for the reply, whose body is copied to `body` (kBodySizeBytesMax bytes).
  // False when the worker is gone or answers nonsense; the process is lost then.
  bool Exchange(wire::FrameKind reply_kind, std::span<uint8_t> body, size_t* body_size_bytes);

  // Bytes of the reply's payload that have not been read yet, padding included.
  uint32_t payload_left() const { return payload_left_; }

  // Takes the next bytes of the payload. False beyond its end.
  bool Read(void* to, uint32_t size_bytes);
  bool Skip(uint32_t size_bytes);

  // The descriptor that came with the reply, or -1.
  int TakeFd();

 private:
  LaneSet::Lane& lane() { return lanes_.lanes_[index_]; }
  bool valid() const { return index_ < wire::kLaneCount; }

  void WakeWorker();
  bool AwaitReply();
  bool SleepUntilReply();
  bool ReadHeader(wire::FrameKind kind, wire::FrameHeader* header);
  bool Lost();

  LaneSet& lanes_;
  const uint32_t index_;
  uint32_t cpu_ = 0;  // where the call was published, as LaneHeader::guest_cpu
  uint32_t payload_left_ = 0;
};

}  // namespace nvshim::preload

#endif  // PRELOAD_LANE_H_
