#include "broker/driver/sim/os_events.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "broker/driver/sim/limits.h"

namespace nvshim::broker::sim {
namespace {

void Signal(const EventListener& listener, FileSignals& signals) {
  const std::shared_ptr<OsEvent> event = listener.os_event.lock();
  const std::shared_ptr<const DriverFileId> file = event == nullptr ? nullptr : event->file.lock();
  if (file != nullptr) signals.Add(*file);
}

}  // namespace

FileSignals::FileSignals() : fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

FileSignals::~FileSignals() {
  if (fd_ >= 0) close(fd_);
}

void FileSignals::Add(DriverFileId file) {
  const std::lock_guard lock(mutex_);
  const bool first = files_.empty();
  files_.insert(file);
  if (first && fd_ >= 0) eventfd_write(fd_, 1);
}

void FileSignals::Remove(DriverFileId file) {
  const std::lock_guard lock(mutex_);
  files_.erase(file);
}

void FileSignals::Take(std::vector<DriverFileId>* files) {
  const std::lock_guard lock(mutex_);
  eventfd_t count;
  if (fd_ >= 0) eventfd_read(fd_, &count);
  files->insert(files->end(), files_.begin(), files_.end());
  files_.clear();
}

NvStatus ClientEvents::Allocate(uint32_t number, const std::shared_ptr<const DriverFileId>& file,
                                OsEventCount& count) {
  if (count.alive >= kOsEventsMax) Prune();
  if (count.alive >= kOsEventsMax) return NV_ERR_INSUFFICIENT_RESOURCES;
  std::shared_ptr<OsEvent>& event = os_events_[number];
  if (event != nullptr && !event->file.expired()) return NV_ERR_INSUFFICIENT_RESOURCES;
  event = std::make_shared<OsEvent>(file, count);
  return NV_OK;
}

NvStatus ClientEvents::Free(uint32_t number) {
  return os_events_.erase(number) != 0 ? NV_OK : NV_ERR_INVALID_EVENT;
}

NvStatus ClientEvents::Listen(uint32_t number, EventListener listener, std::shared_ptr<EventListener>* made) {
  const auto it = os_events_.find(number);
  if (it == os_events_.end() || it->second->file.expired()) return NV_ERR_OBJECT_NOT_FOUND;
  if (listeners_.size() >= kListenersPerClientMax) Prune();
  if (listeners_.size() >= kListenersPerClientMax) return NV_ERR_INSUFFICIENT_RESOURCES;
  listener.os_event = it->second;
  *made = std::make_shared<EventListener>(std::move(listener));
  listeners_.push_back(*made);
  return NV_OK;
}

void ClientEvents::Interrupt(uint32_t gpu, uint32_t notifier, FileSignals& signals) {
  for (const std::weak_ptr<EventListener>& weak : listeners_) {
    const std::shared_ptr<EventListener> listener = weak.lock();
    if (listener == nullptr || !listener->to_interrupts || listener->gpu != gpu) continue;
    // The host's own interrupt is one for all engines, so it may have been that one.
    if (listener->notifier == notifier || listener->notifier == NV2080_NOTIFIERS_FIFO_EVENT_MTHD)
      Signal(*listener, signals);
  }
}

void ClientEvents::SignalAll(FileSignals& signals) {
  for (const std::weak_ptr<EventListener>& weak : listeners_)
    if (const std::shared_ptr<EventListener> listener = weak.lock()) Signal(*listener, signals);
}

void ClientEvents::Prune() {
  std::erase_if(listeners_, [](const std::weak_ptr<EventListener>& listener) { return listener.expired(); });
  absl::erase_if(os_events_, [](const auto& entry) { return entry.second->file.expired(); });
}

}  // namespace nvshim::broker::sim
