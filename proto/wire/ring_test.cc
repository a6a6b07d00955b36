// Laws of the byte rings: what is published is read back, whatever the position; nothing is readable before
// Publish; a full ring refuses; a peer that writes nonsense into its cursor is refused and never makes an end
// touch a byte outside the ring (the rings here are heap blocks of their exact size, so AddressSanitizer
// sees).
#include "proto/wire/ring.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <deque>
#include <memory>
#include <numeric>
#include <thread>
#include <vector>

namespace nvshim::wire {
namespace {

constexpr uint32_t kRingBytes = 64;

// Shared memory and both ends. `start` is where the cursors begin.
struct Ring {
  explicit Ring(uint32_t size = kRingBytes, uint32_t start = 0)
      : size_bytes(size), bytes(new uint8_t[size]()) {
    producer = RingProducer(bytes.get(), size, &tail, &head);
    consumer = RingConsumer(bytes.get(), size, &head, &tail);
    Advance(start);
  }

  // Moves both cursors on by `count` bytes.
  void Advance(uint32_t count) {
    const std::vector<uint8_t> zeros(std::min(count, size_bytes));
    while (count != 0) {
      const uint32_t step = std::min(count, size_bytes);
      ASSERT_TRUE(producer.Begin(step));
      producer.Write(zeros.data(), step);
      producer.Publish();
      ASSERT_EQ(consumer.Available(), step);
      ASSERT_TRUE(consumer.Skip(step));
      consumer.Finish();
      count -= step;
    }
  }

  bool Send(const std::vector<uint8_t>& frame) {
    if (!producer.Begin(static_cast<uint32_t>(frame.size()))) return false;
    producer.Write(frame.data(), static_cast<uint32_t>(frame.size()));
    producer.Publish();
    return true;
  }

  // Reads as many bytes as `frame` has.
  bool Receive(std::vector<uint8_t>* frame) {
    const uint32_t available = consumer.Available();
    if (available == RingConsumer::kCorrupt || available < frame->size()) return false;
    if (!consumer.Read(frame->data(), static_cast<uint32_t>(frame->size()))) return false;
    consumer.Finish();
    return true;
  }

  const uint32_t size_bytes;
  std::unique_ptr<uint8_t[]> bytes;
  std::atomic<uint32_t> tail{0};
  std::atomic<uint32_t> head{0};
  RingProducer producer;
  RingConsumer consumer;
};

std::vector<uint8_t> Counting(uint32_t size_bytes, uint8_t first = 1) {
  std::vector<uint8_t> bytes(size_bytes);
  std::iota(bytes.begin(), bytes.end(), first);
  return bytes;
}

TEST(RingTest, WhatIsPublishedIsReadBackAtEveryPositionAndLength) {
  for (uint32_t start = 0; start < 2 * kRingBytes; ++start)
    for (uint32_t size_bytes = 1; size_bytes <= kRingBytes; ++size_bytes) {
      Ring ring(kRingBytes, start);
      ASSERT_TRUE(ring.Send(Counting(size_bytes)));
      ASSERT_EQ(ring.consumer.Available(), size_bytes);
      std::vector<uint8_t> got(size_bytes);
      ASSERT_TRUE(ring.Receive(&got));
      ASSERT_EQ(got, Counting(size_bytes)) << "at " << start;
      ASSERT_EQ(ring.consumer.Available(), 0u);
    }
}

TEST(RingTest, AFrameMayBeWrittenAndReadInPiecesOfAnySize) {
  for (uint32_t piece = 1; piece <= 24; ++piece) {
    Ring ring(kRingBytes, kRingBytes - 13);
    const std::vector<uint8_t> frame = Counting(24);
    ASSERT_TRUE(ring.producer.Begin(24));
    for (uint32_t at = 0; at < 24; at += piece)
      ring.producer.Write(frame.data() + at, std::min(piece, 24 - at));
    ring.producer.Publish();
    std::vector<uint8_t> got(24);
    ASSERT_EQ(ring.consumer.Available(), 24u);
    for (uint32_t at = 0; at < 24; at += piece)
      ASSERT_TRUE(ring.consumer.Read(got.data() + at, std::min(piece, 24 - at)));
    ASSERT_EQ(got, frame) << piece;
  }
}

TEST(RingTest, CursorsRunOnOverTheEndOfThirtyTwoBits) {
  Ring large(1u << 20, 0xfffffff8u);
  ASSERT_EQ(large.tail.load(), 0xfffffff8u);
  ASSERT_TRUE(large.Send(Counting(40)));
  EXPECT_EQ(large.tail.load(), 32u);
  std::vector<uint8_t> got(40);
  ASSERT_TRUE(large.Receive(&got));
  EXPECT_EQ(got, Counting(40));
  EXPECT_TRUE(large.producer.Begin(1u << 20));
}

TEST(RingTest, NothingIsReadableBeforePublish) {
  Ring ring;
  const std::vector<uint8_t> frame = Counting(16);
  ASSERT_TRUE(ring.producer.Begin(16));
  ring.producer.Write(frame.data(), 16);
  EXPECT_EQ(ring.consumer.Available(), 0u);
  uint8_t byte;
  EXPECT_FALSE(ring.consumer.Read(&byte, 1));
  EXPECT_FALSE(ring.consumer.Skip(1));
  ring.producer.Publish();
  EXPECT_EQ(ring.consumer.Available(), 16u);
}

TEST(RingTest, BeginAgainDropsWhatWasWritten) {
  Ring ring;
  const std::vector<uint8_t> dropped(16, 0xdd);
  ASSERT_TRUE(ring.producer.Begin(16));
  ring.producer.Write(dropped.data(), 16);
  ASSERT_TRUE(ring.Send(Counting(8)));
  std::vector<uint8_t> got(8);
  EXPECT_EQ(ring.consumer.Available(), 8u);
  ASSERT_TRUE(ring.Receive(&got));
  EXPECT_EQ(got, Counting(8));
}

TEST(RingTest, AFullRingRefusesUntilTheConsumerFinishes) {
  Ring ring(kRingBytes, 24);
  ASSERT_TRUE(ring.Send(Counting(40)));
  EXPECT_FALSE(ring.producer.Begin(25));
  ASSERT_TRUE(ring.Send(Counting(24, 100)));
  EXPECT_FALSE(ring.producer.Begin(1));
  EXPECT_TRUE(ring.producer.Begin(0));
  std::vector<uint8_t> got(40);
  ASSERT_EQ(ring.consumer.Available(), kRingBytes);
  ASSERT_TRUE(ring.consumer.Read(got.data(), 40));
  EXPECT_EQ(got, Counting(40));
  EXPECT_FALSE(ring.producer.Begin(1)) << "room is given back by Finish, not by Read";
  ring.consumer.Finish();
  EXPECT_TRUE(ring.producer.Begin(40));
  EXPECT_FALSE(ring.producer.Begin(41));
}

TEST(RingTest, AFrameLargerThanTheRingNeverFits) {
  Ring ring;
  EXPECT_FALSE(ring.producer.Begin(kRingBytes + 1));
  EXPECT_FALSE(ring.producer.Begin(0xffffffff));
}

TEST(RingTest, MoreThanAvailablePromisedIsNotRead) {
  Ring ring;
  ASSERT_TRUE(ring.Send(Counting(16)));
  ASSERT_EQ(ring.consumer.Available(), 16u);
  ASSERT_TRUE(ring.Send(Counting(16)));  // published after the promise
  std::vector<uint8_t> got(17);
  EXPECT_FALSE(ring.consumer.Read(got.data(), 17));
  EXPECT_FALSE(ring.consumer.Skip(17));
  EXPECT_TRUE(ring.consumer.Skip(10));
  EXPECT_FALSE(ring.consumer.Read(got.data(), 7));
  EXPECT_TRUE(ring.consumer.Read(got.data(), 6));
  EXPECT_EQ(ring.consumer.Available(), 16u);
}

TEST(RingTest, PaddingIsZeroUpToTheNextMultipleOfEight) {
  for (uint32_t size_bytes = 1; size_bytes <= 16; ++size_bytes) {
    Ring ring(kRingBytes, kRingBytes - 8);
    std::fill_n(ring.bytes.get(), kRingBytes, 0xee);
    ASSERT_TRUE(ring.producer.Begin(AlignUp8(size_bytes)));
    ring.producer.Write(Counting(size_bytes).data(), size_bytes);
    ring.producer.Pad();
    ring.producer.Publish();
    std::vector<uint8_t> got(AlignUp8(size_bytes)), expected = Counting(size_bytes);
    expected.resize(got.size());
    ASSERT_EQ(ring.consumer.Available(), got.size());
    ASSERT_TRUE(ring.Receive(&got));
    ASSERT_EQ(got, expected);
  }
}

TEST(RingTest, ATailThatNoHonestProducerWritesIsCorrupt) {
  Ring ring(kRingBytes, 24);
  for (uint32_t tail : {24 + kRingBytes + 1, 23u, 0u, 0x80000000u, 0xffffffffu}) {
    ring.tail = tail;
    EXPECT_EQ(ring.consumer.Available(), RingConsumer::kCorrupt) << tail;
    uint8_t byte;
    EXPECT_FALSE(ring.consumer.Read(&byte, 1)) << "a corrupt cursor promises nothing";
  }
  ring.tail = 24 + kRingBytes;
  EXPECT_EQ(ring.consumer.Available(), kRingBytes);
}

TEST(RingTest, ACorruptTailWithdrawsAnEarlierPromise) {
  Ring ring;
  ASSERT_TRUE(ring.Send(Counting(16)));
  ASSERT_EQ(ring.consumer.Available(), 16u);
  ring.tail = 0x80000000;
  ASSERT_EQ(ring.consumer.Available(), RingConsumer::kCorrupt);
  uint8_t byte;
  EXPECT_FALSE(ring.consumer.Read(&byte, 1));
}

TEST(RingTest, AHeadThatNoHonestConsumerWritesGivesNoRoom) {
  Ring ring(kRingBytes, 24);
  constexpr uint32_t kRoomSeen = kRingBytes - 24;  // nothing was seen to be read so far
  for (uint32_t head : {25u, 24 - kRingBytes - 1, 0x80000000u, 0xffffff00u}) {
    ring.head = head;
    EXPECT_TRUE(ring.producer.Begin(kRoomSeen)) << head;
    EXPECT_FALSE(ring.producer.Begin(kRoomSeen + 1)) << head;
  }
  ring.head = 24;
  EXPECT_TRUE(ring.producer.Begin(kRingBytes));
}

TEST(RingTest, AnEndKeepsItsOwnCursorWhateverThePeerWritesOverTheSharedCopy) {
  Ring ring;
  ASSERT_TRUE(ring.Send(Counting(8)));
  std::vector<uint8_t> got(8);
  ASSERT_TRUE(ring.Receive(&got));
  ring.head = 8;  // as it was
  ring.tail = 0x12345678;
  ASSERT_TRUE(ring.Send(Counting(8, 50)));  // overwrites the nonsense with the private cursor
  EXPECT_EQ(ring.tail.load(), 16u);
  ring.head = 0x12345678;
  ASSERT_TRUE(ring.Receive(&got));
  EXPECT_EQ(got, Counting(8, 50));
  EXPECT_EQ(ring.head.load(), 16u);
}

// The peer writes random words over its cursor and over the ring while this side works on; the copies that
// come out are of the promised length and everything stays inside. ThreadSanitizer would rightly object to
// the plain writes into the ring.
#if !defined(__SANITIZE_THREAD__)
TEST(RingTest, AScribblingPeerCannotMoveAnEndOutOfItsRing) {
  Ring ring;
  std::atomic<bool> stop{false};
  std::thread peer([&] {
    uint32_t random = 12345;
    while (!stop.load(std::memory_order_relaxed)) {
      random = random * 1664525 + 1013904223;
      const uint32_t near = ring.tail.load() + random % (2 * kRingBytes);
      ring.tail.store((random & 0x10000) != 0 ? random : near);
      ring.head.store((random & 0x20000) != 0 ? random : near - kRingBytes);
      static_cast<volatile uint8_t*>(ring.bytes.get())[random % kRingBytes] = static_cast<uint8_t>(random);
    }
  });
  uint32_t reads = 0;
  for (int i = 0; i < 200000 || reads == 0; ++i) {
    const uint32_t available = ring.consumer.Available();
    if (available != RingConsumer::kCorrupt) {
      ASSERT_LE(available, kRingBytes);
      std::vector<uint8_t> got(available);
      ASSERT_TRUE(ring.consumer.Read(got.data(), available));
      ring.consumer.Finish();
      ++reads;
    }
    const std::vector<uint8_t> frame(i % (kRingBytes + 1), 0x55);
    ring.Send(frame);
  }
  stop = true;
  peer.join();
}
#endif

TEST(RingTest, TwoThreadsSeeEveryFrameInOrder) {
  Ring ring;
  constexpr uint32_t kFrames = 20000;
  std::thread producer([&] {
    for (uint32_t i = 0; i < kFrames; ++i) {
      const std::vector<uint8_t> frame(1 + i % 20, static_cast<uint8_t>(i));
      while (!ring.Send(frame)) std::this_thread::yield();
    }
  });
  uint32_t wrong = 0;
  for (uint32_t i = 0; i < kFrames; ++i) {
    std::vector<uint8_t> got(1 + i % 20);
    while (!ring.Receive(&got)) std::this_thread::yield();
    for (uint8_t byte : got) wrong += byte != static_cast<uint8_t>(i);
  }
  producer.join();
  EXPECT_EQ(wrong, 0u);
}

// One step of a random history: a frame sent, or some bytes taken.
struct Operation {
  bool send;
  uint32_t size_bytes;
};

void showValue(const Operation& operation, std::ostream& out) {
  out << (operation.send ? "send " : "take ") << operation.size_bytes;
}

RC_GTEST_PROP(RingProperty, BehavesAsABoundedQueueOfBytes, ()) {
  const uint32_t size = 1u << *rc::gen::inRange(3, 8);
  const auto operations = *rc::gen::container<std::vector<Operation>>(
      rc::gen::construct<Operation>(rc::gen::arbitrary<bool>(), rc::gen::inRange(0u, size + 4)));
  Ring ring(size);
  std::deque<uint8_t> model;
  uint8_t next = 0;
  for (const Operation& operation : operations) {
    if (operation.send) {
      const std::vector<uint8_t> frame = Counting(operation.size_bytes, next);
      const bool fits = model.size() + frame.size() <= size;
      RC_ASSERT(ring.Send(frame) == fits);
      if (!fits) continue;
      model.insert(model.end(), frame.begin(), frame.end());
      next = static_cast<uint8_t>(next + frame.size());
    } else {
      RC_ASSERT(ring.consumer.Available() == model.size());
      std::vector<uint8_t> got(operation.size_bytes);
      const bool there = model.size() >= got.size();
      RC_ASSERT(ring.consumer.Read(got.data(), operation.size_bytes) == there);
      if (!there) continue;
      ring.consumer.Finish();
      RC_ASSERT(std::equal(got.begin(), got.end(), model.begin()));
      model.erase(model.begin(), model.begin() + operation.size_bytes);
    }
  }
}

}  // namespace
}  // namespace nvshim::wire
