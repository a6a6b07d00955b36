// Writer and reader of one byte ring of a lane: single producer, single consumer, in memory that the peer may
// scribble over at any time.
//
//        head (consumer)        tail (producer)
//          v                      v
//   ......[######## frames ######]...........      used = tail - head, at most size
//
// Each end keeps its own cursor, and the size, in private memory; the peer's cursor is loaded at most once
// per operation and checked. Bytes leave the ring by copy only (CopyOut of nothing, CopyIn of everything): no
// pointer into the ring is ever handed to a caller. Not thread-safe: one thread per end.
#ifndef PROTO_WIRE_RING_H_
#define PROTO_WIRE_RING_H_

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>

#include "proto/wire/frame.h"

namespace nvshim::wire {

// Copies out of memory that the peer may change meanwhile. The barrier keeps the compiler from reading the
// source again later in place of the copy (gcc and clang both do so otherwise).
inline void CopyFromShared(void* to, const void* from_shared, size_t size_bytes) {
  if (size_bytes == 0) return;  // an empty buffer may be null, which memcpy does not allow
  std::memcpy(to, from_shared, size_bytes);
  asm volatile("" : : "r"(to) : "memory");
}

inline void CopyToShared(void* to_shared, const void* from, size_t size_bytes) {
  if (size_bytes == 0) return;
  std::memcpy(to_shared, from, size_bytes);
  asm volatile("" : : "r"(to_shared) : "memory");
}

// The producing end. Usage: Begin, any number of Write, Publish; or Begin again to drop what was written.
class RingProducer {
 public:
  RingProducer() = default;
  // `tail` is written by us, `head` by the peer; `size_bytes` a power of two.
  RingProducer(uint8_t* ring, uint32_t size_bytes, std::atomic<uint32_t>* tail,
               const std::atomic<uint32_t>* head)
      : ring_(ring), mask_(size_bytes - 1), tail_shared_(tail), head_shared_(head) {}

  // Starts a frame of `size_bytes`. False when it does not fit now, or when the peer's cursor is nonsense.
  bool Begin(uint32_t size_bytes) {
    // The peer's cursor lies in a line that the peer has just written: it is looked at when the room that was
    // seen last is used up, once in some hundred frames.
    if (size_bytes > mask_ + 1 - (tail_ - head_seen_)) {
      // Pairs with the release of RingConsumer::Finish: the peer is done reading what we are about to
      // overwrite.
      const uint32_t used = tail_ - head_shared_->load(std::memory_order_acquire);
      if (used > mask_ + 1 || size_bytes > mask_ + 1 - used) return false;
      head_seen_ = tail_ - used;
    }
    cursor_ = tail_;
    return true;
  }

  void Write(const void* bytes, uint32_t size_bytes) {
    const uint32_t at = cursor_ & mask_;
    const uint32_t first = std::min(size_bytes, mask_ + 1 - at);
    CopyToShared(ring_ + at, bytes, first);
    CopyToShared(ring_, static_cast<const uint8_t*>(bytes) + first, size_bytes - first);
    cursor_ += size_bytes;
  }

  // Zeros up to the next multiple of 8.
  void Pad() {
    static constexpr uint64_t kZeros = 0;
    const uint32_t over = cursor_ & 7u;
    if (over != 0) Write(&kZeros, 8 - over);
  }

  // Makes everything written since Begin visible to the consumer.
  void Publish() {
    tail_ = cursor_;
    tail_shared_->store(tail_,
                        std::memory_order_release);  // pairs with the acquire of RingConsumer::Available
  }

 private:
  uint8_t* ring_ = nullptr;
  uint32_t mask_ = 0;
  uint32_t tail_ = 0;       // private; tail_shared_ only tells the peer
  uint32_t cursor_ = 0;     // end of what was written since Begin
  uint32_t head_seen_ = 0;  // the peer's cursor, checked: at most the ring's size behind tail_
  std::atomic<uint32_t>* tail_shared_ = nullptr;
  const std::atomic<uint32_t>* head_shared_ = nullptr;
};

// The consuming end. Usage: Available, any number of Read, Finish.
class RingConsumer {
 public:
  // What Available returns for a cursor that no honest producer writes.
  static constexpr uint32_t kCorrupt = 0xffffffff;

  RingConsumer() = default;
  // `head` is written by us, `tail` by the peer; `size_bytes` a power of two.
  RingConsumer(const uint8_t* ring, uint32_t size_bytes, std::atomic<uint32_t>* head,
               const std::atomic<uint32_t>* tail)
      : ring_(ring), mask_(size_bytes - 1), head_shared_(head), tail_shared_(tail) {}

  // Bytes that may be read now, or kCorrupt: then nothing may. The answer stays true however the peer's
  // cursor changes.
  uint32_t Available() {
    // Pairs with the release of RingProducer::Publish.
    const uint32_t used = tail_shared_->load(std::memory_order_acquire) - head_;
    left_ = used <= mask_ + 1 ? used : 0;
    return used <= mask_ + 1 ? used : kCorrupt;
  }

  // Copies the next bytes out. False when that is more than Available promised.
  bool Read(void* bytes, uint32_t size_bytes) {
    if (size_bytes > left_) return false;
    const uint32_t at = head_ & mask_;
    const uint32_t first = std::min(size_bytes, mask_ + 1 - at);
    CopyFromShared(bytes, ring_ + at, first);
    CopyFromShared(static_cast<uint8_t*>(bytes) + first, ring_, size_bytes - first);
    head_ += size_bytes;
    left_ -= size_bytes;
    return true;
  }

  // Passes over padding.
  bool Skip(uint32_t size_bytes) {
    if (size_bytes > left_) return false;
    head_ += size_bytes;
    left_ -= size_bytes;
    return true;
  }

  // Gives the room of everything read back to the producer.
  void Finish() {
    head_shared_->store(head_, std::memory_order_release);  // pairs with the acquire of RingProducer::Begin
  }

 private:
  const uint8_t* ring_ = nullptr;
  uint32_t mask_ = 0;
  uint32_t head_ = 0;  // private
  uint32_t left_ = 0;  // promised by Available and not yet read
  std::atomic<uint32_t>* head_shared_ = nullptr;
  const std::atomic<uint32_t>* tail_shared_ = nullptr;
};

}  // namespace nvshim::wire

#endif  // PROTO_WIRE_RING_H_
