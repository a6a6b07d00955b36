// Hand-made pushbuffers against memory that is one array.
#ifndef BROKER_DRIVER_SIM_ENGINE_CHANNEL_TEST_FIXTURE_H_
#define BROKER_DRIVER_SIM_ENGINE_CHANNEL_TEST_FIXTURE_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "broker/driver/sim/engine/channel.h"

namespace nvshim::broker::sim::engine {

inline constexpr uint64_t kBase = 0x2'0000'0000;  // above 32 bits, so that upper halves matter
inline constexpr uint64_t kSize = 4 << 20;
inline constexpr uint64_t kHole = kBase + 0x10'0000, kHoleSize = 0x1000;  // not mapped
inline constexpr uint64_t kFifo = kBase, kPushbuffer = kBase + 0x1000, kSource = kBase + 0x8000,
                          kTarget = kBase + 0x20000, kSemaphore = kBase + 0x40000;
inline constexpr uint32_t kEntries = 8;
inline constexpr uint32_t kCopy = 4, kCompute = 1;  // subchannels

class ArrayHost : public Host {
 public:
  ArrayHost() : memory(kSize) {}
  std::span<uint8_t> Resolve(uint64_t address, uint64_t length) override {
    ++resolved;
    last_address = address;
    if (address < kBase || address >= kBase + kSize) return {};
    uint64_t end = kBase + kSize;
    if (address < kHole) end = kHole;
    if (address >= kHole && address < kHole + kHoleSize) return {};
    // In pieces of 4 KiB, as if no two pages were neighbours.
    end = std::min(end, (address & ~uint64_t{4095}) + 4096);
    return {memory.data() + (address - kBase), static_cast<size_t>(std::min(length, end - address))};
  }
  uint64_t NowNs() override { return 0x1122334455667788; }
  void Interrupt() override { ++interrupts; }
  bool Launch(const KernelLaunch& launch) override {
    launches.push_back(launch);
    return skips_kernels;
  }

  template <typename T>
  T Get(uint64_t address) const {
    T value;
    std::memcpy(&value, memory.data() + (address - kBase), sizeof(T));
    return value;
  }
  template <typename T>
  void Put(uint64_t address, T value) {
    std::memcpy(memory.data() + (address - kBase), &value, sizeof(T));
  }

  std::vector<uint8_t> memory;
  uint64_t resolved = 0;
  uint64_t last_address = 0;
  int interrupts = 0;
  bool skips_kernels = false;
  std::vector<KernelLaunch> launches;
};

class ChannelTest : public ::testing::Test {
 protected:
  ChannelTest() : userd_(kUserdBytes) {
    for (uint64_t i = 0; i < 0x10000; ++i)
      host_.memory[kSource - kBase + i] = static_cast<uint8_t>(i * 7 + i / 256);
  }

  static uint32_t Header(uint32_t operation, uint32_t subchannel, uint32_t method, uint32_t count) {
    return operation << 29 | count << 16 | subchannel << 13 | method / 4;
  }
  void Inc(uint32_t subchannel, uint32_t method, std::vector<uint32_t> data) {
    words_.push_back(Header(1, subchannel, method, static_cast<uint32_t>(data.size())));
    words_.insert(words_.end(), data.begin(), data.end());
  }
  void Bind() {
    Inc(kCopy, 0, {0xc7b5});
    Inc(kCompute, 0, {0xc6c0});
  }
  void CopyLines(uint64_t from, uint64_t to, uint32_t length, uint32_t lines, uint32_t launch) {
    Inc(kCopy, 0x400,
        {static_cast<uint32_t>(from >> 32), static_cast<uint32_t>(from), static_cast<uint32_t>(to >> 32),
         static_cast<uint32_t>(to), 0x100, 0x80, length, lines});
    Inc(kCopy, 0x300, {launch});
  }
  void SemaphoreMethods(uint32_t execute, uint64_t payload) {
    Inc(0, 0x5c,
        {static_cast<uint32_t>(kSemaphore), static_cast<uint32_t>(kSemaphore >> 32),
         static_cast<uint32_t>(payload), static_cast<uint32_t>(payload >> 32), execute});
  }
  // Queues what was written so far as one entry.
  void Submit() {
    std::memcpy(host_.memory.data() + (kPushbuffer - kBase) + offset_, words_.data(), words_.size() * 4);
    host_.Put<uint64_t>(kFifo + put_ * 8, (kPushbuffer + offset_) | uint64_t{words_.size()} << 42);
    offset_ += words_.size() * 4;
    words_.clear();
    put_ = (put_ + 1) % kEntries;
    SetPut(put_);
  }
  void SetPut(uint32_t put) { std::memcpy(userd_.data() + 0x8c, &put, 4); }
  uint32_t GpGet() const {
    uint32_t get;
    std::memcpy(&get, userd_.data() + 0x88, 4);
    return get;
  }
  Channel::State Run(uint64_t methods = 100000, uint64_t bytes = 1 << 24) {
    Budget budget{methods, bytes};
    return channel_.Turn(host_, userd_, &budget);
  }

  ArrayHost host_;
  std::vector<uint8_t> userd_;
  Channel channel_{kFifo, kEntries};
  std::vector<uint32_t> words_;
  uint64_t offset_ = 0;
  uint32_t put_ = 0;
};

inline constexpr uint32_t kPlainCopy = 0x182, kFourWords = 0x14, kMultiLine = 0x200;

}  // namespace nvshim::broker::sim::engine

#endif  // BROKER_DRIVER_SIM_ENGINE_CHANNEL_TEST_FIXTURE_H_
