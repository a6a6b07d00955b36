#include "broker/core/ledger.h"

#include <utility>

namespace nvshim::broker {
namespace {

uint64_t Left(uint64_t limit, uint64_t used) { return used < limit ? limit - used : 0; }

}  // namespace

void Charge::GrowTo(uint64_t amount) {
  if (account_ == nullptr || amount <= amount_) return;
  account_->Change(resource_, amount_, amount);
  amount_ = amount;
}

void Account::Join(std::shared_ptr<UidLevel> uid) {
  uid_ = std::move(uid);
  for (size_t i = 0; i < kResourceCount; ++i)
    uid_->Set(static_cast<Resource>(i), held_[static_cast<Resource>(i)]);
}

uint64_t Account::limit(Resource resource) const {
  const uint64_t guest = ledger_->limit(resource);
  return uid_ == nullptr ? guest : std::min(guest, uid_->limit(resource));
}

uint64_t Account::left(Resource resource) const {
  const uint64_t guest = Left(ledger_->limit(resource), ledger_->used()[resource]);
  return uid_ == nullptr ? guest : std::min(guest, Left(uid_->limit(resource), uid_->used(resource)));
}

bool Account::HasFrameRate() const { return limit(Resource::kFramesPerSecond) != kNoLimit; }

uint64_t Account::NextFrameNs(uint64_t now_ns) {
  uint64_t due_ns = now_ns;
  if (const uint64_t rate = ledger_->limit(Resource::kFramesPerSecond); rate != kNoLimit) {
    const Frame frame = NextFrame(ledger_->bucket_full_ns_, rate, now_ns);
    ledger_->bucket_full_ns_ = frame.full_ns;
    due_ns = frame.due_ns;
  }
  if (uid_ != nullptr && uid_->limit(Resource::kFramesPerSecond) != kNoLimit)
    due_ns = std::max(due_ns, uid_->NextFrameNs(now_ns));
  if (due_ns != now_ns) ++ledger_->refused_[Resource::kFramesPerSecond];
  return due_ns;
}

}  // namespace nvshim::broker
