// The lock is given up between two rounds, so that calls wait for one round at most.
#include "broker/driver/sim/engine_thread.h"

#include <algorithm>
#include <chrono>

namespace nvshim::broker::sim {
namespace {

using Clock = std::chrono::steady_clock;

// How long it keeps looking after work: programs that copy in a row come back within this.
constexpr std::chrono::microseconds kSpinTime(50);
// The pauses after that, doubled each time up to the longest.
constexpr std::chrono::microseconds kPauseMin(20), kPauseMax(1000);
// How often it steps back for waiting calls before it takes its turn; a flood of calls must not stop the GPU.
constexpr int kYieldsMax = 64;

}  // namespace

EngineThread::~EngineThread() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    channels_exist_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

void EngineThread::Wake() {
  if (!machine_.channels.any()) return;
  if (!thread_.joinable()) thread_ = std::thread([this] { Run(); });
  if (asleep_) channels_exist_.notify_one();
}

void EngineThread::Run() {
  Clock::time_point last_work{};
  std::chrono::microseconds pause = kPauseMin;
  std::unique_lock lock(mutex_.engine_side());
  while (!stopping_) {
    const bool progress = machine_.channels.RunOnce(machine_.backings);
    if (!machine_.channels.any()) {
      asleep_ = true;
      channels_exist_.wait(lock, [this] { return stopping_ || machine_.channels.any(); });
      asleep_ = false;
      continue;
    }
    lock.unlock();
    const auto now = Clock::now();
    if (progress) {
      last_work = now;
      pause = kPauseMin;
    } else if (now - last_work > kSpinTime) {
      std::this_thread::sleep_for(pause);
      pause = std::min(2 * pause, kPauseMax);
    }
    for (int i = 0; i == 0 || (i < kYieldsMax && mutex_.wanted()); ++i) std::this_thread::yield();
    lock.lock();
  }
}

}  // namespace nvshim::broker::sim
