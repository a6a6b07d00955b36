// What a guest holds of each kind of resource.h, and how much it may. Whatever makes the worker or the driver
// keep something takes a Charge first, and puts it where the thing itself is kept: the charge's destructor is
// the refund. So there is one path back for a free, the free of a parent, a closed file and a death, and no
// sum that could drift from what is there.
//
//   Charge -> Account -> Ledger     the guest: all its processes
//                     -> UidLevel   the uid: all guests of that user, in whichever worker they are
//
// A charge is taken at both levels or at neither. Processes of one guest may be of several uids, when the
// guest is a named socket's: each uid has an account of its own then. Pure, but for what other workers
// tell a UidLevel. Nothing here outlives its ledger.
#ifndef BROKER_CORE_LEDGER_H_
#define BROKER_CORE_LEDGER_H_

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>

#include "broker/core/resource.h"

namespace nvshim::broker {

// The second level, as one guest meets it.
class UidLevel {
 public:
  virtual ~UidLevel() = default;

  // The guest holds `held` of the uid's from now on, and not `before`, which was less; false, and nothing is
  // changed, when all guests together would then hold more than the uid may.
  virtual bool Raise(Resource resource, uint64_t before, uint64_t held) = 0;
  // The same for less than before, or for more that cannot be refused.
  virtual void Set(Resource resource, uint64_t held) = 0;

  virtual uint64_t limit(Resource resource) const = 0;
  // Of all guests.
  virtual uint64_t used(Resource resource) const = 0;

  // When the uid's next frame may be served (NextFrame below).
  virtual uint64_t NextFrameNs(uint64_t now_ns) = 0;
  // A rate has changed: the next frames may come at once, whatever was asked for before.
  virtual void RefillFrames() = 0;
};

// Frames per second, as a bucket that holds those of one second and fills steadily. It remembers one point in
// time, when it will be full again; so nothing has to be given back, and nothing is lost with a guest. Times
// are those of the worker's clock.
struct Frame {
  uint64_t due_ns;   // when it may be served, not before now
  uint64_t full_ns;  // when the bucket will be full again
};
constexpr Frame NextFrame(uint64_t full_ns, uint64_t per_second, uint64_t now_ns) {
  constexpr uint64_t kSecondNs = 1'000'000'000;
  const uint64_t rate = std::max<uint64_t>(1, per_second);
  const uint64_t interval_ns = kSecondNs / rate + (kSecondNs % rate != 0);
  const uint64_t full_then_ns = std::max(full_ns, now_ns) + interval_ns;
  return {std::max(now_ns, full_then_ns - std::min(full_then_ns, rate * interval_ns)), full_then_ns};
}

class Account;

// A part of an account, given back by the destructor. Empty when the account had no more.
class Charge {
 public:
  Charge() = default;
  Charge(Charge&& other) noexcept
      : account_(std::exchange(other.account_, nullptr)),
        amount_(other.amount_),
        resource_(other.resource_) {}
  Charge& operator=(Charge&& other) noexcept {
    Release();
    account_ = std::exchange(other.account_, nullptr);
    amount_ = other.amount_;
    resource_ = other.resource_;
    return *this;
  }
  ~Charge() { Release(); }

  explicit operator bool() const { return account_ != nullptr; }
  Resource resource() const { return resource_; }
  uint64_t amount() const { return amount_; }

  void Release();
  // The driver gave more than was asked for: it rounds up to pages. May pass a limit by that much.
  void GrowTo(uint64_t amount);
  // `amount` of it, at most all, as a charge of its own.
  Charge Split(uint64_t amount) {
    amount_ -= amount;
    return Charge(account_, resource_, amount);
  }

 private:
  friend class Account;
  Charge(Account* account, Resource resource, uint64_t amount)
      : account_(account), amount_(amount), resource_(resource) {}

  Account* account_ = nullptr;
  uint64_t amount_ = 0;
  Resource resource_{};
};

// Of one guest.
class Ledger {
 public:
  explicit Ledger(const Limits& limits) : limits_(limits) {}
  Ledger(const Ledger&) = delete;
  Ledger& operator=(const Ledger&) = delete;

  const Limits& limits() const { return limits_; }
  uint64_t limit(Resource resource) const { return limits_[resource]; }
  // Held now. Of frames per second: nothing.
  const Amounts& used() const { return used_; }
  // From now on. What is held beyond them stays, and frames that come at once may do so again.
  void SetLimits(const Limits& limits) {
    limits_ = limits;
    bucket_full_ns_ = 0;
  }
  // How often somebody was turned away, at either level; of frames per second: had to wait.
  const Amounts& refused() const { return refused_; }

 private:
  friend class Account;
  Limits limits_;
  Amounts used_;
  Amounts refused_;
  uint64_t bucket_full_ns_ = 0;
};

// What the processes of one uid hold of a guest's.
class Account {
 public:
  // Without a level for its uid, until it joins one, only the guest's limits hold.
  explicit Account(Ledger* ledger, std::shared_ptr<UidLevel> uid = nullptr)
      : ledger_(ledger), uid_(std::move(uid)) {}
  Account(const Account&) = delete;
  Account& operator=(const Account&) = delete;

  // From now on what is held is held there, and what is held already moves. This cannot be refused: the uid
  // may be beyond its limits until enough is given back.
  void Join(std::shared_ptr<UidLevel> uid);

  // `amount` at both levels; or an empty charge, which is counted.
  Charge Take(Resource resource, uint64_t amount) {
    uint64_t& used = ledger_->used_[resource];
    const uint64_t limit = ledger_->limits_[resource];
    // Also without a limit: sums stay below 2^64.
    if (used > limit || amount > limit - used || !RaiseUid(resource, amount)) {
      ++ledger_->refused_[resource];
      return Charge();
    }
    used += amount;
    return Charge(this, resource, amount);
  }

  // When the next frame may be served, in order of asking; at once as long as both rates are kept.
  uint64_t NextFrameNs(uint64_t now_ns);
  bool HasFrameRate() const;
  void RefillUidFrames() {
    if (uid_ != nullptr) uid_->RefillFrames();
  }

  // The narrower of the two levels.
  uint64_t limit(Resource resource) const;
  uint64_t left(Resource resource) const;

 private:
  friend class Charge;
  bool RaiseUid(Resource resource, uint64_t amount) {
    uint64_t& held = held_[resource];
    if (uid_ != nullptr && !uid_->Raise(resource, held, held + amount)) return false;
    held += amount;
    return true;
  }
  void Change(Resource resource, uint64_t from, uint64_t to);

  Ledger* const ledger_;
  std::shared_ptr<UidLevel> uid_;
  Amounts held_;  // sums over all accounts of the ledger are its used_
};

inline void Charge::Release() {
  if (account_ != nullptr) std::exchange(account_, nullptr)->Change(resource_, amount_, 0);
}

inline void Account::Change(Resource resource, uint64_t from, uint64_t to) {
  ledger_->used_[resource] += to - from;
  held_[resource] += to - from;
  if (uid_ != nullptr) uid_->Set(resource, held_[resource]);
}

}  // namespace nvshim::broker

#endif  // BROKER_CORE_LEDGER_H_
