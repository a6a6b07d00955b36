#include "broker/supervisor/statistics_book.h"

#include <algorithm>

namespace nvshim::broker {
namespace {

void AddGuest(const GuestStatistics& guest, BrokerStatistics* sum) {
  sum->set_guests(sum->guests() + 1);
  sum->set_processes(sum->processes() + guest.processes());
  sum->set_files(sum->files() + guest.files());
  sum->set_clients(sum->clients() + guest.clients());
  sum->set_objects(sum->objects() + guest.objects());
  sum->set_memory_bytes(sum->memory_bytes() + guest.memory_bytes());
  sum->set_frames(sum->frames() + guest.opens_total() + guest.ioctls_total());
  for (const auto& [reason, count] : guest.refusals_total()) sum->set_refusals(sum->refusals() + count);
}

}  // namespace

void StatisticsBook::NoteAnswered(uint32_t worker, const WorkerStatistics& statistics) {
  const auto it = pages_.find(worker);
  if (it == pages_.end()) return;
  ++it->second.answered;
  it->second.statistics = statistics;
}

StatisticsBook::Questions StatisticsBook::AskedSoFar() const {
  Questions questions;
  for (const auto& [worker, page] : pages_) questions[worker] = page.asked;
  return questions;
}

bool StatisticsBook::AreAnswered(const Questions& questions) const {
  return std::all_of(questions.begin(), questions.end(), [this](const auto& question) {
    const auto it = pages_.find(question.first);
    return it == pages_.end() || it->second.answered >= question.second;
  });
}

void StatisticsBook::AddTo(BrokerStatistics* sum) const {
  for (const auto& [worker, page] : pages_) {
    if (page.answered == 0) continue;
    *sum->add_workers() = page.statistics;
    for (const GuestStatistics& guest : page.statistics.guests()) AddGuest(guest, sum);
  }
}

}  // namespace nvshim::broker
