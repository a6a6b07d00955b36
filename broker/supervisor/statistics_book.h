// What the workers have said last of the guests that they serve, and whether they have said it since somebody
// asked. Pure: no system calls. One thread.
#ifndef BROKER_SUPERVISOR_STATISTICS_BOOK_H_
#define BROKER_SUPERVISOR_STATISTICS_BOOK_H_

#include <cstdint>
#include <map>

#include "proto/control.pb.h"

namespace nvshim::broker {

class StatisticsBook {
 public:
  // How often each worker had been asked at some time.
  using Questions = std::map<uint32_t, uint64_t>;

  // A worker was asked. It answers in the order of its questions.
  void NoteAsked(uint32_t worker) { ++pages_[worker].asked; }
  void NoteAnswered(uint32_t worker, const WorkerStatistics& statistics);
  // The worker is gone: nobody waits for it.
  void Remove(uint32_t worker) { pages_.erase(worker); }

  Questions AskedSoFar() const;
  // Whether the workers that are not gone have answered all these.
  bool AreAnswered(const Questions& questions) const;

  // Adds the workers that have answered ever, and the sums over their guests.
  void AddTo(BrokerStatistics* sum) const;

 private:
  struct Page {
    uint64_t asked = 0;
    uint64_t answered = 0;
    WorkerStatistics statistics;
  };
  std::map<uint32_t, Page> pages_;  // by worker
};

}  // namespace nvshim::broker

#endif  // BROKER_SUPERVISOR_STATISTICS_BOOK_H_
