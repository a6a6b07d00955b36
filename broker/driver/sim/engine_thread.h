// The thread that gives the simulated GPU's channels their turns. It starts with the first channel and sleeps
// for good while there is none.
//
// How it learns of new work is an intermediate solution: a store to a doorbell page makes no system call, so
// while channels exist it looks at all of them, at once after there was work and ever more seldom afterwards,
// down to once a millisecond. That costs an idle context a thousand wake-ups a second.
#ifndef BROKER_DRIVER_SIM_ENGINE_THREAD_H_
#define BROKER_DRIVER_SIM_ENGINE_THREAD_H_

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "broker/driver/sim/machine.h"

namespace nvshim::broker::sim {

// The driver's lock. Calls go before the engine, which would else take it again the moment it gives it up.
class FairMutex {
 public:
  void lock() {
    waiting_.fetch_add(1, std::memory_order_relaxed);
    mutex_.lock();
    waiting_.fetch_sub(1, std::memory_order_relaxed);
  }
  void unlock() { mutex_.unlock(); }

  std::mutex& engine_side() { return mutex_; }
  bool wanted() const { return waiting_.load(std::memory_order_relaxed) != 0; }

 private:
  std::mutex mutex_;
  std::atomic<int> waiting_{0};
};

class EngineThread {
 public:
  EngineThread(FairMutex& mutex, Machine& machine) : mutex_(mutex), machine_(machine) {}
  EngineThread(const EngineThread&) = delete;
  EngineThread& operator=(const EngineThread&) = delete;
  ~EngineThread();

  // After each call, under the lock: starts the thread, or ends its sleep, when there are channels.
  void Wake();

 private:
  void Run();

  FairMutex& mutex_;
  Machine& machine_;
  // All below under the lock.
  std::condition_variable channels_exist_;
  bool asleep_ = false;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace nvshim::broker::sim

#endif  // BROKER_DRIVER_SIM_ENGINE_THREAD_H_
