// The lock is given up between two rounds, so that calls wait for one round at most.
#include "broker/driver/sim/engine_thread.h"

#include <algorithm>
#include <chrono>

namespace nvshim::broker::sim {
namespace {

using Clock = std::chrono::steady_clock;

// How long it keeps looking after work: programs that copy in a row come back within this.
constexpr std::chrono::microseconds kSpinTime(50);
// How long it looks with pauses before it arms the doorbells. To be woken by one costs a page fault and three
// changes of thread, about as much as five pauses.
constexpr std::chrono::microseconds kArmTime(200);
// The pauses, doubled each time up to the longest.
constexpr std::chrono::microseconds kPauseMin(20), kPauseMax(1000);
// How often it steps back for waiting calls before it takes its turn; a flood of calls must not stop the GPU.
constexpr int kYieldsMax = 64;

}  // namespace

EngineThread::~EngineThread() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    woken_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

void EngineThread::Wake() {
  if (!asleep_) return;
  asleep_ = false;
  woken_.notify_one();
}

void EngineThread::NoteCall() {
  const uint64_t made = machine_.channels.made();
  if (made == channels_seen_) return;
  channels_seen_ = made;
  if (!thread_.joinable()) thread_ = std::thread([this] { Run(); });
  Wake();
}

void EngineThread::AddDoorbell(Doorbell* doorbell) {
  const std::lock_guard lock(mutex_);
  doorbells_.push_back(doorbell);
  Wake();
}

void EngineThread::RemoveDoorbell(Doorbell* doorbell) {
  const std::lock_guard lock(mutex_);
  std::erase(doorbells_, doorbell);
}

void EngineThread::Ring() {
  const std::lock_guard lock(mutex_);
  Wake();
}

// Asks those that are not. Without any there is nobody to wake the thread.
bool EngineThread::AllArmed() {
  bool all = !doorbells_.empty();
  for (Doorbell* doorbell : doorbells_) {
    if (doorbell->armed()) continue;
    doorbell->Arm();
    all = false;
  }
  return all;
}

void EngineThread::Run() {
  Clock::time_point last_work{};
  std::chrono::microseconds pause = kPauseMin;
  std::unique_lock lock(mutex_.engine_side());
  while (!stopping_) {
    // Before the look, so that it sees all that came before the doorbells were armed.
    const bool armed = Clock::now() - last_work > kArmTime && AllArmed();
    const Channels::Round round = machine_.channels.RunOnce(machine_.backings);
    if (!machine_.channels.any() || (armed && round == Channels::Round::kIdle)) {
      asleep_ = true;
      woken_.wait(lock, [this] { return stopping_ || !asleep_; });
      last_work = Clock::now();
      pause = kPauseMin;
      continue;
    }
    lock.unlock();
    const auto now = Clock::now();
    if (round == Channels::Round::kProgress) {
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
