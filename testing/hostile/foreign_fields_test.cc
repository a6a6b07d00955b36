// Law: for every driver version, no field of any call takes a guest to what is not its own. Every client
// field is tried with another guest's numbers, every fd field with files that the guest does not hold, every
// length with what is not true (attempts.h); each attempt is refused with the driver's status, or harmless by
// construction, and nothing of another guest's reaches the driver. Prints the table of attempts.
#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>
#include <set>
#include <string>

#include "broker/core/verdict.h"
#include "testing/hostile/attempt_table.h"
#include "testing/hostile/attempts.h"
#include "testing/hostile/core_tenants.h"
#include "testing/hostile/fields_outside_tables_data.h"

namespace nvshim::testing {
namespace {

std::string Hex(uint32_t value) {
  char text[16];
  std::snprintf(text, sizeof(text), "0x%02x", value);
  return text;
}

std::string Refused(int error, uint32_t status) {
  return error != 0 ? "errno " + std::to_string(error) : "status " + Hex(status);
}

// Fields in a row count as one line of the table.
std::string FieldOf(const Attempt& attempt) {
  const auto& clients = attempt.spec->clients;
  if (clients.size <= 4 || !attempt.field.starts_with("client@")) return attempt.field;
  return "client@" + std::to_string(clients.data[0]) + "*" + std::to_string(clients.size);
}

// A few controls the broker answers itself, and the driver does not hear of them: here that the object, which
// nobody has made, is not there.
bool IsAnswered(const Attempt& attempt, const Outcome& outcome) {
  const auto& answered = broker::kAnsweredControls;
  return attempt.kind == Kind::kControl && outcome.error == 0 && outcome.status == 0x57 &&
         std::find(std::begin(answered), std::end(answered), attempt.spec->number) != std::end(answered);
}

class ForeignFieldsTest : public ::testing::TestWithParam<const abi::Table*> {};

TEST_P(ForeignFieldsTest, AreRefusedOrHarmless) {
  const abi::Table& table = *GetParam();
  CoreTenants tenants(table);
  ASSERT_EQ(tenants.broken_law(), "");
  const Knowledge knowledge{tenants.own(), tenants.own_real_client(), tenants.other_files_client(),
                            tenants.foreign_clients(), tenants.foreign_files()};
  AttemptTable attempts;
  int failures = 0;
  ForEachAttempt(table, knowledge, [&](const Attempt& attempt) {
    if (failures > 20) return;  // one mistake breaks many
    const std::string where = std::string(kKindNames[static_cast<int>(attempt.kind)]) + " " +
                              std::string(attempt.spec->name) + ", " + attempt.field;
    const Outcome outcome = tenants.Try(attempt.request);
    const std::string expected =
        attempt.harmless.empty() ? Refused(attempt.error, attempt.status) : attempt.harmless;
    const bool passes = outcome.reached_driver || IsAnswered(attempt, outcome);
    const std::string got = passes ? attempt.harmless : Refused(outcome.error, outcome.status);
    failures += got != expected || !tenants.broken_law().empty();
    EXPECT_EQ(got, expected) << where << (outcome.reached_driver ? ": reached the driver" : "");
    EXPECT_EQ(tenants.broken_law(), "") << where;
    attempts.Count(kKindNames[static_cast<int>(attempt.kind)], std::string(attempt.spec->name),
                   FieldOf(attempt), (attempt.harmless.empty() ? "refused, " : "harmless: ") + got);
  });
  attempts.Print(std::string(table.driver_version));
  EXPECT_GT(attempts.attempts(), 10'000u);
}

const abi::Spec* FindLine(const abi::Table& table, Kind kind, uint32_t number) {
  return kind == Kind::kControl ? abi::FindControl(table, number)
                                : abi::Find(broker::SpecsOf(table, kind), number);
}

// The other fields that the driver has, and the 256 numbers around each one that is known: there is no way
// in.
TEST_P(ForeignFieldsTest, OfCallsInNoTableAreRefused) {
  const abi::Table& table = *GetParam();
  CoreTenants tenants(table);
  AttemptTable attempts;
  const auto refuses = [&](Kind kind, uint32_t number, uint32_t size_bytes, uint32_t offset, uint32_t value) {
    HonestRequest request = UnknownCall(table, kind, number, size_bytes, tenants.own());
    if (offset + 4 <= size_bytes) broker::Put<uint32_t>(request.call.Bytes(request.segment), offset, value);
    const Outcome outcome = tenants.Try(request);
    const NotServed how = HowNotServed(kind);
    return !outcome.reached_driver && outcome.error == how.error && outcome.status == how.status;
  };
  for (const FieldOutsideTables& field : kFieldsOutsideTables) {
    if (FindLine(table, field.kind, field.number) != nullptr) continue;
    const bool client = std::string(field.what) == "client";
    for (uint32_t value : client ? tenants.foreign_clients() : tenants.foreign_files()) {
      EXPECT_TRUE(refuses(field.kind, field.number, 2048, field.offset, value)) << field.call;
      const NotServed how = HowNotServed(field.kind);
      attempts.Count(kKindNames[static_cast<int>(field.kind)], field.call,
                     std::string(field.what) + "@" + std::to_string(field.offset),
                     "refused, " + Refused(how.error, how.status));
    }
  }
  for (Kind kind : {Kind::kEscape, Kind::kControl, Kind::kClass, Kind::kUvm}) {
    std::set<uint32_t> pages;
    for (const abi::Spec& known : broker::SpecsOf(table, kind)) pages.insert(known.number & ~0xffu);
    for (uint32_t page : pages)
      for (uint32_t number = page; number < page + 0x100; ++number)
        ASSERT_TRUE(FindLine(table, kind, number) != nullptr || refuses(kind, number, 64, 0, 0))
            << kKindNames[static_cast<int>(kind)] << " " << number;
  }
  EXPECT_EQ(tenants.broken_law(), "");
  attempts.Print(std::string(table.driver_version));
}

INSTANTIATE_TEST_SUITE_P(EveryVersion, ForeignFieldsTest,
                         ::testing::ValuesIn(abi::Tables().begin(), abi::Tables().end()),
                         [](const ::testing::TestParamInfo<const abi::Table*>& info) {
                           std::string name(info.param->driver_version);
                           std::replace(name.begin(), name.end(), '.', '_');
                           return name;
                         });

}  // namespace
}  // namespace nvshim::testing
