#include "preload/placeholder.h"

#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "gtest/gtest.h"
#include "proto/frame.pb.h"

namespace nvshim::preload {
namespace {

constexpr char kName[] = "nvshim/0123456789abcdef/00000a0b/2/7";

TEST(PlaceholderTest, TheNameTellsGuestFileAndDevice) {
  Placeholder placeholder;
  ASSERT_TRUE(ParsePlaceholder(kName, &placeholder));
  EXPECT_EQ(placeholder.guest_instance, 0x0123456789abcdefu);
  EXPECT_EQ(placeholder.file_id, 0xa0bu);
  EXPECT_EQ(placeholder.device_class, DeviceClass::kGpu);
  EXPECT_EQ(placeholder.minor, 7u);
}

TEST(PlaceholderTest, NoOtherNameIsAPlaceholder) {
  const std::string name = kName;
  Placeholder placeholder;
  for (size_t size = 0; size < name.size(); ++size)
    EXPECT_FALSE(ParsePlaceholder(name.substr(0, size), &placeholder)) << size;
  for (const char* other : {"nvshim/0123456789ABCDEF/00000a0b/2/7", "nvshim/0123456789abcdef/00000a0b/0/7",
                            "other/0123456789abcdef/0000", "nvshim/0123456789abcdef/00000a0b/5/7",
                            "nvshim/0123456789abcdef/00000000/2/7", "nvshim/0123456789abcdef/00000a0b/2/-1",
                            "nvshim/0123456789abcdef/00000a0b/2/12345678901"}) {
    EXPECT_FALSE(ParsePlaceholder(other, &placeholder)) << other;
  }
  EXPECT_FALSE(ParsePlaceholder(name + "x", &placeholder));
}

// A socket pair whose first end has the name that a worker gives.
class PlaceholderPairTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends_), 0);
    // A random file id: abstract names are shared by the whole machine.
    ASSERT_EQ(getrandom(&file_id_, sizeof(file_id_), 0), static_cast<ssize_t>(sizeof(file_id_)));
    file_id_ |= 1;  // 0 is no file
    snprintf(name_, sizeof(name_), "nvshim/fedcba9876543210/%08x/1/0", file_id_);
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path + 1, name_, std::strlen(name_));
    const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + std::strlen(name_));
    ASSERT_EQ(bind(ends_[0], reinterpret_cast<sockaddr*>(&address), size), 0);
  }
  void TearDown() override {
    for (const int end : ends_)
      if (end >= 0) close(end);
  }
  void CloseWorkersEnd() {
    close(ends_[0]);
    ends_[0] = -1;
  }

  int ends_[2] = {-1, -1};
  uint32_t file_id_ = 0;
  char name_[64];
};

TEST_F(PlaceholderPairTest, TheOtherEndIsRecognisedThroughADuplicate) {
  Placeholder placeholder;
  const int duplicate = dup(ends_[1]);
  ASSERT_TRUE(ReadPlaceholder(duplicate, &placeholder));
  EXPECT_EQ(placeholder.guest_instance, 0xfedcba9876543210u);
  EXPECT_EQ(placeholder.file_id, file_id_);
  close(duplicate);
}

TEST_F(PlaceholderPairTest, ItIsStillRecognisedWhenTheWorkerIsDead) {
  EXPECT_FALSE(PlaceholderIsDead(ends_[1]));
  CloseWorkersEnd();
  EXPECT_TRUE(PlaceholderIsDead(ends_[1]));
  Placeholder placeholder;
  EXPECT_TRUE(ReadPlaceholder(ends_[1], &placeholder));
  EXPECT_FALSE(ClaimPlaceholder(ends_[1], 3));
}

TEST_F(PlaceholderPairTest, AClaimIsAFileClaimOfTheProtocol) {
  ASSERT_TRUE(ClaimPlaceholder(ends_[1], 70000));
  char bytes[64];
  const ssize_t size = recv(ends_[0], bytes, sizeof(bytes), 0);
  FileClaim claim;
  ASSERT_TRUE(claim.ParseFromArray(bytes, static_cast<int>(size)));
  EXPECT_EQ(claim.process_id(), 70000u);
}

TEST(PlaceholderTest, OtherDescriptorsAreNotPlaceholders) {
  Placeholder placeholder;
  EXPECT_FALSE(ReadPlaceholder(-1, &placeholder));
  int pipe_ends[2], pair[2];
  ASSERT_EQ(pipe(pipe_ends), 0);
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
  for (const int fd : {pipe_ends[0], pipe_ends[1], pair[0], pair[1]}) {
    EXPECT_FALSE(ReadPlaceholder(fd, &placeholder));
    close(fd);
  }
}

}  // namespace
}  // namespace nvshim::preload
