#include "preload/lane.h"

#include <errno.h>
#include <sched.h>

#include <bit>

namespace nvshim::preload {

namespace {

// About 20 us on current CPUs (a pause is 40 to 140 cycles): a worker that is awake answers most calls in
// less, and a futex round trip costs about as much.
constexpr int kSpinsMax = 500;

// After so many waits in a row that outlasted their spinning, the worker has no CPU of its own (or the calls
// are slow): spinning then only keeps it from running. Every so many waits one more is tried.
constexpr uint32_t kMissesMax = 4;
constexpr uint32_t kSpinTrialInterval = 16;

// How long a dead worker can go unnoticed by a sleeping call. A hundred wake-ups per second, only while a
// call blocks.
constexpr int64_t kHangUpCheckNs = 10'000'000;

// The lane this thread used last is in its CPU's cache. Initial-exec (see BUILD.bazel): reading it calls
// nobody.
constinit thread_local uint32_t t_last_lane = 0;

// The CPU's number plus one, as region.h has it. No system call: the kernel keeps it readable.
uint32_t CurrentCpu() { return static_cast<uint32_t>(sched_getcpu()) + 1; }

}  // namespace

void LaneSet::Open(void* region, Channel* channel, bool may_spin) {
  region_ = region;
  channel_ = channel;
  may_spin_ = may_spin;
  for (uint32_t i = 0; i < wire::kLaneCount; ++i) {
    wire::LaneHeader* const header = wire::LaneOf(region, i);
    lanes_[i].requests = wire::RingProducer(wire::RequestRingOf(region, i), wire::kRingSizeBytes,
                                            &header->request_tail, &header->request_head);
    lanes_[i].responses = wire::RingConsumer(wire::ResponseRingOf(region, i), wire::kRingSizeBytes,
                                             &header->response_head, &header->response_tail);
  }
}

uint32_t LaneSet::Claim() {
  uint32_t wanted = t_last_lane;
  while (true) {
    uint64_t claimed = claimed_.load(std::memory_order_relaxed);
    while (claimed != ~uint64_t{0}) {
      if ((claimed >> wanted & 1) != 0) wanted = static_cast<uint32_t>(std::countr_one(claimed));
      // Pairs with the release in Release: the lane's cursors are those its last holder left.
      if (claimed_.compare_exchange_weak(claimed, claimed | uint64_t{1} << wanted,
                                         std::memory_order_acquire)) {
        t_last_lane = wanted;
        return wanted;
      }
    }
    if (channel_->HungUp()) return wire::kLaneCount;
    waiters_.fetch_add(1, std::memory_order_seq_cst);  // pairs with the load in Release
    const uint32_t seen = releases_.load(std::memory_order_seq_cst);
    if (claimed_.load(std::memory_order_seq_cst) == ~uint64_t{0})
      FutexWait(&releases_, seen, FUTEX_PRIVATE_FLAG, kHangUpCheckNs);
    waiters_.fetch_sub(1, std::memory_order_relaxed);
  }
}

void LaneSet::Release(uint32_t index) {
  claimed_.fetch_and(~(uint64_t{1} << index), std::memory_order_seq_cst);
  if (waiters_.load(std::memory_order_seq_cst) == 0) return;
  releases_.fetch_add(1, std::memory_order_seq_cst);
  FutexWake(&releases_, 1, FUTEX_PRIVATE_FLAG);
}

bool LaneSet::ShouldSpin() {
  const uint32_t misses = misses_.load(std::memory_order_relaxed);
  return may_spin_ && (misses < kMissesMax || misses % kSpinTrialInterval == 0);
}

void LaneSet::NoteSpin(bool answered) {
  const uint32_t misses = misses_.load(std::memory_order_relaxed);
  if (!answered)
    misses_.store(misses + 1, std::memory_order_relaxed);
  else if (misses != 0)
    misses_.store(0, std::memory_order_relaxed);
}

LaneCall::~LaneCall() {
  if (!valid()) return;
  if (payload_left_ != 0) Skip(payload_left_);
  lane().responses.Finish();
  lanes_.Release(index_);
}

bool LaneCall::Begin(wire::FrameKind kind, uint32_t file_id, Bytes body, uint32_t payload_size_bytes) {
  if (!valid() || lanes_.channel_->lost()) return false;
  const uint32_t body_size_bytes = static_cast<uint32_t>(body.size());
  const uint32_t size_bytes =
      sizeof(wire::FrameHeader) + wire::AlignUp8(body_size_bytes) + payload_size_bytes;
  // A call at a time: the ring is empty, so only nonsense in the worker's cursor makes this fail.
  if (!lane().requests.Begin(size_bytes)) return Lost();
  wire::FrameHeader header = {};
  header.magic = wire::kFrameMagic;
  header.kind = kind;
  header.body_size_bytes = static_cast<uint16_t>(body_size_bytes);
  header.payload_size_bytes = payload_size_bytes;
  header.sequence = ++lane().sequence;
  header.file_id = file_id;
  lane().requests.Write(&header, sizeof(header));
  Write(body.data(), body_size_bytes);
  return true;
}

void LaneCall::Write(const void* bytes, uint32_t size_bytes) {
  lane().requests.Write(bytes, size_bytes);
  lane().requests.Pad();
}

bool LaneCall::Exchange(wire::FrameKind reply_kind, std::span<uint8_t> body, size_t* body_size_bytes) {
  lane().requests.Publish();
  WakeWorker();
  wire::FrameHeader header;
  if (!AwaitReply() || !ReadHeader(reply_kind, &header)) return false;
  const uint32_t padded = wire::AlignUp8(header.body_size_bytes);
  if (header.body_size_bytes > body.size() || !lane().responses.Read(body.data(), header.body_size_bytes) ||
      !lane().responses.Skip(padded - header.body_size_bytes)) {
    return Lost();
  }
  *body_size_bytes = header.body_size_bytes;
  payload_left_ = header.payload_size_bytes;
  return true;
}

void LaneCall::WakeWorker() {
  wire::RegionHeader* const region = wire::HeaderOf(lanes_.region_);
  // Dekker with the worker, which stores worker_waiting and then loads lanes_pending: sequentially consistent
  // here and there, so that one of the two sees the other's store.
  cpu_ = CurrentCpu();
  wire::LaneOf(lanes_.region_, index_)->guest_cpu.store(cpu_, std::memory_order_relaxed);
  region->lanes_pending.fetch_or(uint64_t{1} << index_, std::memory_order_seq_cst);
  uint32_t sleep = region->worker_waiting.load(std::memory_order_seq_cst);
  if (sleep == 0) return;
  // In this order: a signal handler that came in between and called, too, would find the word clear, ring no
  // bell, and wait for an answer to a frame that nobody looks at. A later sleep has another number and stays.
  lanes_.channel_->RingDoorbell();
  region->worker_waiting.compare_exchange_strong(sleep, 0, std::memory_order_relaxed);
}

bool LaneCall::AwaitReply() {
  const wire::RegionHeader* const region = wire::HeaderOf(lanes_.region_);
  const bool alone = region->worker_cpu.load(std::memory_order_relaxed) != cpu_;
  for (int spins = alone && lanes_.ShouldSpin() ? kSpinsMax : 0;; --spins) {
    const uint32_t available = lane().responses.Available();
    if (available == wire::RingConsumer::kCorrupt) return Lost();
    if (available == 0 && spins > 0) {
      __builtin_ia32_pause();
      continue;
    }
    lanes_.NoteSpin(available != 0);
    return available != 0 || SleepUntilReply();
  }
}

bool LaneCall::SleepUntilReply() {
  wire::LaneHeader* const header = wire::LaneOf(lanes_.region_, index_);
  while (true) {
    // Dekker with the worker, which publishes and then exchanges guest_waiting. Available loads the tail once
    // more and sees no older value than this load.
    header->guest_waiting.store(1, std::memory_order_seq_cst);
    const uint32_t seen = header->response_tail.load(std::memory_order_seq_cst);
    const uint32_t available = lane().responses.Available();
    if (available == wire::RingConsumer::kCorrupt) return Lost();
    if (available != 0) break;
    // Two system calls that an answer in time does not need. A signal may come more often than the time is
    // over.
    const long waited = FutexWait(&header->response_tail, seen, 0, kHangUpCheckNs);
    if (waited != -ETIMEDOUT && waited != -EINTR) continue;
    if (lanes_.channel_->HungUp()) {
      // What was published before the hang-up still counts.
      if (const uint32_t late = lane().responses.Available();
          late == 0 || late == wire::RingConsumer::kCorrupt)
        return false;
      break;
    }
  }
  header->guest_waiting.store(0, std::memory_order_relaxed);
  return true;
}

bool LaneCall::ReadHeader(wire::FrameKind kind, wire::FrameHeader* header) {
  const uint32_t available = lane().responses.Available();
  if (available == wire::RingConsumer::kCorrupt || !lane().responses.Read(header, sizeof(*header)))
    return Lost();
  const uint64_t size_bytes = uint64_t{sizeof(*header)} + wire::AlignUp8(header->body_size_bytes) +
                              uint64_t{header->payload_size_bytes};
  const bool sound = header->magic == wire::kFrameMagic && header->kind == kind &&
                     header->sequence == lane().sequence && size_bytes == available;
  return sound || Lost();
}

bool LaneCall::Read(void* to, uint32_t size_bytes) {
  if (size_bytes > payload_left_ || !lane().responses.Read(to, size_bytes)) return false;
  payload_left_ -= size_bytes;
  return true;
}

bool LaneCall::Skip(uint32_t size_bytes) {
  if (size_bytes > payload_left_ || !lane().responses.Skip(size_bytes)) return false;
  payload_left_ -= size_bytes;
  return true;
}

int LaneCall::TakeFd() { return lanes_.channel_->TakeFd(index_, lane().sequence); }

bool LaneCall::Lost() {
  lanes_.channel_->MarkLost();
  return false;
}

}  // namespace nvshim::preload
