// Law: no guest can name what belongs to another. Two guests speak raw frames to one worker, the hardest
// case: with one worker per guest the kernel separates them as well.
#include <gtest/gtest.h>
#include <unistd.h>

#include <vector>

#include "testing/guest/raw_guest.h"
#include "testing/guest/worker_harness.h"

namespace nvshim::testing {
namespace {

constexpr uint32_t kStatusInvalidClient = 0x23;
constexpr uint32_t kGetProbedIds = 0x214;

struct Tenant {
  std::unique_ptr<RawGuest> guest;
  OpenAnswer file;
  uint32_t client;
};

class TwoGuestsTest : public ::testing::Test {
 protected:
  Tenant Arrive(uint32_t id) {
    Tenant tenant{worker_.NewProcess(id), {}, 0};
    tenant.file = *tenant.guest->Open(DEVICE_CLASS_CTL);
    tenant.client = AllocClient(*tenant.guest, tenant.file.file_id)->handle;
    return tenant;
  }
  static std::optional<uint32_t> Probe(Tenant& tenant, uint32_t file_id, uint32_t client) {
    std::vector<uint8_t> params(256);
    return Control(*tenant.guest, file_id, client, client, kGetProbedIds, params);
  }

  WorkerHarness worker_;
};

TEST_F(TwoGuestsTest, EachGuestHasANumberingOfItsOwn) {
  Tenant a = Arrive(1);
  Tenant b = Arrive(2);
  // Equal numbers for different clients: a client number tells nothing about the other guest.
  EXPECT_EQ(a.client, b.client);
  EXPECT_EQ(Probe(a, a.file.file_id, a.client), 0u);
  EXPECT_EQ(Probe(b, b.file.file_id, b.client), 0u);
}

TEST_F(TwoGuestsTest, NoNumberNamesAClientOfTheOtherGuest) {
  Tenant a = Arrive(1);
  Tenant b = Arrive(2);
  const uint32_t second = AllocClient(*a.guest, a.file.file_id)->handle;
  ASSERT_NE(second, a.client);
  EXPECT_EQ(Probe(b, b.file.file_id, second), kStatusInvalidClient);
  // All numbers in which the driver's real handles of both guests lie.
  for (uint32_t handle = 0xc1d00000; handle < 0xc1d00400; ++handle)
    ASSERT_EQ(Probe(b, b.file.file_id, handle), handle == b.client ? 0 : kStatusInvalidClient) << handle;
}

TEST_F(TwoGuestsTest, FreeingTheOtherGuestsClientFreesNothing) {
  Tenant a = Arrive(1);
  Tenant b = Arrive(2);
  const uint32_t second = AllocClient(*a.guest, a.file.file_id)->handle;
  EXPECT_EQ(Free(*b.guest, b.file.file_id, second, second), kStatusInvalidClient);
  EXPECT_EQ(Probe(a, a.file.file_id, second), 0u);
}

TEST_F(TwoGuestsTest, AFileOfTheOtherGuestDoesNotExist) {
  Tenant a = Arrive(1);
  const auto more = a.guest->Open(DEVICE_CLASS_CTL);
  Tenant b = Arrive(2);
  const auto answer = b.guest->Ioctl(more->file_id, kIoctlCheckVersion, {{std::vector<uint8_t>(72), 0, 0}});
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->error, ENODEV);
}

TEST_F(TwoGuestsTest, AnotherProcessOfTheSameGuestMustProveThatItHoldsAFile) {
  Tenant a = Arrive(1);
  Tenant sibling{worker_.NewProcess(1), {}, 0};
  EXPECT_FALSE(Probe(sibling, a.file.file_id, a.client).has_value()) << "the file was never handed over";
  FileClaim claim;
  claim.set_process_id(sibling.guest->welcome().process_id());
  const std::string bytes = claim.SerializeAsString();
  ASSERT_EQ(write(a.file.fd, bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  EXPECT_EQ(Probe(sibling, a.file.file_id, a.client), 0u);
}

TEST_F(TwoGuestsTest, AClaimInFavourOfAnotherGuestsProcessChangesNothing) {
  Tenant a = Arrive(1);
  Tenant b = Arrive(2);
  const auto more = a.guest->Open(DEVICE_CLASS_CTL);
  FileClaim claim;
  claim.set_process_id(b.guest->welcome().process_id());
  const std::string bytes = claim.SerializeAsString();
  ASSERT_EQ(write(more->fd, bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  const auto answer = b.guest->Ioctl(more->file_id, kIoctlCheckVersion, {{std::vector<uint8_t>(72), 0, 0}});
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->error, ENODEV);
}

TEST_F(TwoGuestsTest, AGuestsEndLeavesTheOtherUnharmed) {
  Tenant a = Arrive(1);
  Tenant b = Arrive(2);
  a.guest.reset();
  close(a.file.fd);
  for (int i = 0; i < 100; ++i) ASSERT_EQ(Probe(b, b.file.file_id, b.client), 0u);
}

}  // namespace
}  // namespace nvshim::testing
