// The second level of the ledger in one place, as tests have it: no workers, no sheet.
#ifndef BROKER_CORE_UID_LEVEL_TESTLIB_H_
#define BROKER_CORE_UID_LEVEL_TESTLIB_H_

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "broker/core/ledger.h"

namespace nvshim::broker {

// What a uid's guests hold, in one place.
struct NaiveUid {
  Limits limits = NoLimits();
  std::vector<Amounts> held;
  uint64_t full_ns = 0;

  uint64_t Sum(Resource resource) const {
    uint64_t sum = 0;
    for (const Amounts& one : held) sum += one[resource];
    return sum;
  }
};

class NaiveLevel final : public UidLevel {
 public:
  explicit NaiveLevel(std::shared_ptr<NaiveUid> uid) : uid_(std::move(uid)), row_(uid_->held.size()) {
    uid_->held.emplace_back();
  }
  bool Raise(Resource resource, uint64_t, uint64_t held) override {
    const uint64_t others = uid_->Sum(resource) - uid_->held[row_][resource];
    if (held > uid_->limits[resource] || others > uid_->limits[resource] - held) return false;
    Set(resource, held);
    return true;
  }
  void Set(Resource resource, uint64_t held) override { uid_->held[row_][resource] = held; }
  uint64_t limit(Resource resource) const override { return uid_->limits[resource]; }
  uint64_t used(Resource resource) const override { return uid_->Sum(resource); }
  uint64_t NextFrameNs(uint64_t now_ns) override {
    const Frame frame = NextFrame(uid_->full_ns, uid_->limits[Resource::kFramesPerSecond], now_ns);
    uid_->full_ns = frame.full_ns;
    return frame.due_ns;
  }
  void RefillFrames() override { uid_->full_ns = 0; }

 private:
  const std::shared_ptr<NaiveUid> uid_;
  const size_t row_;
};

}  // namespace nvshim::broker

#endif  // BROKER_CORE_UID_LEVEL_TESTLIB_H_
