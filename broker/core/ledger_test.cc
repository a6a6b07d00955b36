// Laws of the ledger: whatever is taken, moved, grown and given back, the sums of both levels are those of
// the charges that are there; a charge is taken at both levels or at neither; and when all charges are gone
// the sums are zero.
#include "broker/core/ledger.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <array>
#include <memory>
#include <numeric>
#include <utility>
#include <vector>

#include "broker/core/uid_level_testlib.h"

namespace nvshim::broker {
namespace {

// ---- Any history ----

// Two guests of one uid, and a named one in which both uids are.
constexpr size_t kAccounts = 4;
constexpr std::array<size_t, kAccounts> kGuestOf = {0, 1, 2, 2};
constexpr std::array<size_t, kAccounts> kUidOf = {0, 0, 0, 1};
constexpr size_t kSlots = 12;

struct Operation {
  uint32_t kind;
  size_t slot, other;
  size_t account;
  Resource resource;
  uint64_t amount;
};

rc::Gen<Operation> AnyOperation() {
  const auto amount = rc::gen::oneOf(
      rc::gen::inRange<uint64_t>(0, 12),
      rc::gen::element<uint64_t>(100, 101, 150, uint64_t{1} << 63, kNoLimit - 100, kNoLimit - 1, kNoLimit));
  return rc::gen::construct<Operation>(
      rc::gen::inRange(0u, 8u), rc::gen::inRange<size_t>(0, kSlots), rc::gen::inRange<size_t>(0, kSlots),
      rc::gen::inRange<size_t>(0, kAccounts),
      rc::gen::element(Resource::kVideoMemory, Resource::kFiles, Resource::kLanes), amount);
}

class Model {
 public:
  Model() {
    Limits limits = NoLimits();
    limits[Resource::kVideoMemory] = 100;
    limits[Resource::kFiles] = 20;
    for (auto& ledger : ledgers_) ledger = std::make_unique<Ledger>(limits);
    uids_[0]->limits[Resource::kVideoMemory] = 150;
    uids_[0]->limits[Resource::kLanes] = 10;
    uids_[1]->limits[Resource::kFiles] = 0;
    for (size_t i = 0; i < kAccounts; ++i)
      accounts_[i] = std::make_unique<Account>(ledgers_[kGuestOf[i]].get(),
                                               std::make_shared<NaiveLevel>(uids_[kUidOf[i]]));
  }

  void Do(const Operation& operation) {
    Charge& charge = slots_[operation.slot];
    if (operation.kind < 4) return Take(operation, charge);
    if (operation.kind == 4) {
      charge.Release();
      known_[operation.slot] = {};
    } else if (operation.kind == 5) {
      charge = Charge();
      known_[operation.slot] = {};
    } else if (operation.kind == 6 && operation.slot != operation.other) {
      charge = std::move(slots_[operation.other]);
      known_[operation.slot] = std::exchange(known_[operation.other], {});
    } else if (operation.kind == 7 && operation.amount < 1000) {
      charge.GrowTo(operation.amount);
      Known& known = known_[operation.slot];
      if (known.there) known.amount = std::max(known.amount, operation.amount);
    }
  }

  void Check() const {
    for (Resource resource : {Resource::kVideoMemory, Resource::kFiles, Resource::kLanes}) {
      for (size_t guest = 0; guest < ledgers_.size(); ++guest)
        RC_ASSERT(ledgers_[guest]->used()[resource] ==
                  Sum(resource, [&](size_t account) { return kGuestOf[account] == guest; }));
      for (size_t uid = 0; uid < uids_.size(); ++uid)
        RC_ASSERT(uids_[uid]->Sum(resource) ==
                  Sum(resource, [&](size_t account) { return kUidOf[account] == uid; }));
    }
    for (size_t slot = 0; slot < kSlots; ++slot) {
      RC_ASSERT(static_cast<bool>(slots_[slot]) == known_[slot].there);
      if (known_[slot].there) RC_ASSERT(slots_[slot].amount() == known_[slot].amount);
    }
  }

  void EndAll() {
    for (Charge& charge : slots_) charge = {};
    known_ = {};
    Check();
    for (const auto& ledger : ledgers_) RC_ASSERT(ledger->used() == Amounts());
    for (const auto& uid : uids_)
      for (const Amounts& held : uid->held) RC_ASSERT(held == Amounts());
  }

 private:
  struct Known {
    bool there = false;
    size_t account = 0;
    Resource resource{};
    uint64_t amount = 0;
  };

  template <typename Of>
  uint64_t Sum(Resource resource, Of of) const {
    uint64_t sum = 0;
    for (const Known& known : known_)
      if (known.there && known.resource == resource && of(known.account)) sum += known.amount;
    return sum;
  }

  static bool Fits(uint64_t limit, uint64_t used, uint64_t amount) {
    return used <= limit && amount <= limit - used;
  }

  void Take(const Operation& operation, Charge& charge) {
    charge.Release();
    known_[operation.slot] = {};
    const size_t guest = kGuestOf[operation.account], uid = kUidOf[operation.account];
    const bool fits =
        Fits(ledgers_[guest]->limit(operation.resource),
             Sum(operation.resource, [&](size_t account) { return kGuestOf[account] == guest; }),
             operation.amount) &&
        Fits(uids_[uid]->limits[operation.resource],
             Sum(operation.resource, [&](size_t account) { return kUidOf[account] == uid; }),
             operation.amount);
    const uint64_t left = accounts_[operation.account]->left(operation.resource);
    const uint64_t refused = ledgers_[guest]->refused()[operation.resource];
    charge = accounts_[operation.account]->Take(operation.resource, operation.amount);
    RC_ASSERT(static_cast<bool>(charge) == fits);
    RC_ASSERT((fits == (operation.amount <= left) || operation.amount == 0));
    RC_ASSERT(ledgers_[guest]->refused()[operation.resource] == refused + !fits);
    if (fits) known_[operation.slot] = {true, operation.account, operation.resource, operation.amount};
  }

  std::array<std::shared_ptr<NaiveUid>, 2> uids_ = {std::make_shared<NaiveUid>(),
                                                    std::make_shared<NaiveUid>()};
  std::array<std::unique_ptr<Ledger>, 3> ledgers_;
  std::array<std::unique_ptr<Account>, kAccounts> accounts_;
  std::array<Charge, kSlots> slots_;
  std::array<Known, kSlots> known_;
};

TEST(LedgerTest, WhateverHappensTheSumsAreThoseOfTheCharges) {
  EXPECT_TRUE(rc::check("the sums of both levels", [] {
    Model model;
    for (const Operation& operation : *rc::gen::container<std::vector<Operation>>(AnyOperation())) {
      model.Do(operation);
      model.Check();
    }
    model.EndAll();
  }));
}

TEST(LedgerTest, WithoutALevelForTheUidTheGuestsLimitsHold) {
  Limits limits = NoLimits();
  limits[Resource::kFiles] = 2;
  Ledger ledger(limits);
  Account account(&ledger);
  const Charge first = account.Take(Resource::kFiles, 2);
  EXPECT_TRUE(first);
  EXPECT_EQ(account.limit(Resource::kFiles), 2u);
  EXPECT_EQ(account.left(Resource::kFiles), 0u);
  EXPECT_FALSE(account.Take(Resource::kFiles, 1));
  EXPECT_FALSE(account.HasFrameRate());
  EXPECT_EQ(account.NextFrameNs(7), 7u);
}

// ---- Frames per second ----

// In any stretch of time no more frames than a bucket and what flows in meanwhile; and none waits while less
// has been asked for.
TEST(LedgerTest, FramesComeNoFasterThanTheRateAndNotSlower) {
  EXPECT_TRUE(rc::check("frames per second", [] {
    const auto rate = *rc::gen::element<uint64_t>(1, 2, 3, 7, 60, 1000, 999'999'937);
    const auto gaps_ns = *rc::gen::container<std::vector<uint64_t>>(
        rc::gen::element<uint64_t>(0, 0, 0, 1, 1'000'000, 300'000'000, 3'000'000'000));
    uint64_t now_ns = 5'000'000'000, full_ns = 0;
    std::vector<uint64_t> due;
    for (uint64_t gap_ns : gaps_ns) {
      now_ns += gap_ns;
      const Frame frame = NextFrame(full_ns, rate, now_ns);
      full_ns = frame.full_ns;
      RC_ASSERT(frame.due_ns >= now_ns);
      RC_ASSERT((due.empty() || frame.due_ns >= due.back()));
      if (due.size() < rate) RC_ASSERT(frame.due_ns == now_ns);
      due.push_back(frame.due_ns);
    }
    for (size_t i = 0; i < due.size(); ++i)
      for (size_t j = i + 1; j < due.size(); ++j)
        RC_ASSERT(j - i + 1 <= rate + (due[j] - due[i]) / (1'000'000'000 / rate) + 1);
  }));
}

TEST(LedgerTest, ARateIsKeptExactlyBySomebodyWhoAlwaysAsks) {
  constexpr uint64_t kRate = 100, kStart = 1'000'000'000'000;
  Limits limits = NoLimits();
  limits[Resource::kFramesPerSecond] = kRate;
  Ledger ledger(limits);
  Account account(&ledger);
  EXPECT_TRUE(account.HasFrameRate());
  uint64_t now_ns = kStart;
  for (uint64_t i = 0; i < 10 * kRate; ++i) now_ns = account.NextFrameNs(now_ns);
  EXPECT_EQ(now_ns - kStart, 9'000'000'000u) << "those of the first second at once";
  EXPECT_EQ(ledger.refused()[Resource::kFramesPerSecond], 9 * kRate);
  EXPECT_EQ(ledger.used(), Amounts());
}

TEST(LedgerTest, AUidsRateIsOneForAllItsGuests) {
  const auto uid = std::make_shared<NaiveUid>();
  uid->limits[Resource::kFramesPerSecond] = 10;
  Limits limits = NoLimits();
  Ledger first(limits), second(limits);
  limits[Resource::kFramesPerSecond] = 2;
  Ledger slow(limits);
  Account a(&first, std::make_shared<NaiveLevel>(uid)), b(&second, std::make_shared<NaiveLevel>(uid)),
      c(&slow, std::make_shared<NaiveLevel>(uid));
  for (int i = 0; i < 4; ++i) EXPECT_EQ(a.NextFrameNs(1), 1u);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(b.NextFrameNs(1), 1u);
  EXPECT_EQ(c.NextFrameNs(1), 1u);
  EXPECT_EQ(c.NextFrameNs(1), 1u);
  EXPECT_EQ(a.NextFrameNs(1), 100'000'001u);
  EXPECT_EQ(c.NextFrameNs(1), 500'000'001u) << "the later of the two levels";
}

// ---- The table ----

TEST(ResourceTest, EveryKindHasANameAReasonAndAnAnswer) {
  for (size_t i = 0; i < kResourceCount; ++i) {
    const auto resource = static_cast<Resource>(i);
    const ResourceInfo& info = InfoOf(resource);
    EXPECT_EQ(FindResource(info.name), resource) << "two of one name";
    EXPECT_FALSE(info.what.empty() || info.why.empty() || info.over.empty()) << info.name;
    EXPECT_LE(info.guest_default, info.settable_max) << info.name;
    const bool answers = info.error != 0 || info.status != 0;
    EXPECT_EQ(answers, info.unit != Unit::kPerSecond) << info.name;
  }
  EXPECT_EQ(FindResource("video memory"), std::nullopt);
}

}  // namespace
}  // namespace nvshim::broker
