// The thread that gives the simulated GPU's channels their turns. It starts with the first channel, and
// sleeps for good while no channel has work.
//
// How it learns of new work: a guest that stores to a doorbell page makes no system call. So before it sleeps
// the thread arms the doorbells of all guests (Doorbell in driver.h), looks once more when all of them are
// armed, and is woken by Ring. While a guest cannot be armed, or a channel waits for a semaphore that anybody
// may write, it looks ever more seldom instead, down to once a millisecond.
#ifndef BROKER_DRIVER_SIM_ENGINE_THREAD_H_
#define BROKER_DRIVER_SIM_ENGINE_THREAD_H_

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "broker/driver/driver.h"
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

  // After each call, under the lock: starts the thread, or ends its sleep, when there are new channels.
  void NoteCall();

  // As in driver.h; they take the lock.
  void AddDoorbell(Doorbell* doorbell);
  void RemoveDoorbell(Doorbell* doorbell);
  void Ring();

  // Under the lock.
  bool asleep() const { return asleep_; }

 private:
  void Run();
  bool AllArmed();
  void Wake();

  FairMutex& mutex_;
  Machine& machine_;
  // All below under the lock.
  std::vector<Doorbell*> doorbells_;
  std::condition_variable woken_;
  bool asleep_ = false;
  bool stopping_ = false;
  uint64_t channels_seen_ = 0;  // Channels::made() at the last look
  std::thread thread_;
};

}  // namespace nvshim::broker::sim

#endif  // BROKER_DRIVER_SIM_ENGINE_THREAD_H_
