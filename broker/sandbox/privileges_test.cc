#include "broker/sandbox/privileges.h"

#include <grp.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <functional>
#include <map>
#include <string>

#include "gtest/gtest.h"

namespace nvshim::broker {
namespace {

constexpr uid_t kWorkerUid = 20'001;
constexpr uid_t kOrdinaryUid = 65'534;
constexpr char kNoCapability[] = "0000000000000000";

// The lines of /proc/self/status, name -> value; blanks of the value are single.
std::map<std::string, std::string> Status() {
  std::map<std::string, std::string> status;
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    const size_t colon = line.find(':');
    std::string& value = status[line.substr(0, colon)];
    for (size_t at = colon + 1; at < line.size(); ++at)
      if (!value.empty() || !isspace(line[at])) value += isspace(line[at]) ? ' ' : line[at];
    while (value.ends_with(' ')) value.pop_back();
  }
  return status;
}

// Runs `body` in a process of its own, because what it drops is gone for good; its failures are the test's.
void InChild(const std::function<void()>& body) {
  const pid_t child = fork();
  if (child == 0) {
    body();
    _exit(::testing::Test::HasFailure() ? 1 : 0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0) << "the failures are above";
}

void BecomeOrdinary() {
  ASSERT_EQ(setgroups(0, nullptr), 0);
  ASSERT_EQ(setresgid(kOrdinaryUid, kOrdinaryUid, kOrdinaryUid), 0);
  ASSERT_EQ(setresuid(kOrdinaryUid, kOrdinaryUid, kOrdinaryUid), 0);
}

// As a broker has it that a service manager started with AmbientCapabilities.
void RaiseAmbient(int capability) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = {};
  ASSERT_EQ(syscall(SYS_capget, &header, sets), 0);
  sets[0].inheritable |= 1u << capability;
  ASSERT_EQ(syscall(SYS_capset, &header, sets), 0);
  ASSERT_EQ(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0), 0);
}

void ExpectNoCapabilities() {
  const auto status = Status();
  for (const char* set : {"CapInh", "CapPrm", "CapEff", "CapAmb"})
    EXPECT_EQ(status.at(set), kNoCapability) << set;
  EXPECT_EQ(status.at("NoNewPrivs"), "1");
  EXPECT_EQ(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0), 0);
}

// A container or a sandbox may know no other user ids than its own.
bool MayBecomeAnother() {
  const pid_t child = fork();
  if (child == 0)
    _exit(setresgid(kOrdinaryUid, kOrdinaryUid, kOrdinaryUid) == 0 &&
                  setresuid(kWorkerUid, kWorkerUid, kOrdinaryUid) == 0
              ? 0
              : 1);
  int status = 1;
  waitpid(child, &status, 0);
  return status == 0;
}

class PrivilegesOfRootTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!MayBecomeAnother()) GTEST_SKIP() << "SKIPPED: only root of a machine may become another user";
  }
};

TEST(PrivilegesTest, NoCapabilityIsLeftWhoeverStartsIt) {
  InChild([] {
    EXPECT_TRUE(DropPrivileges(std::nullopt).ok());
    ExpectNoCapabilities();
  });
}

TEST_F(PrivilegesOfRootTest, AmbientCapabilitiesAndTheBoundingSetAreEmpty) {
  InChild([] {
    RaiseAmbient(CAP_SYS_NICE);
    EXPECT_TRUE(DropPrivileges(std::nullopt).ok());
    ExpectNoCapabilities();
    EXPECT_EQ(Status().at("CapBnd"), kNoCapability);
  });
}

TEST_F(PrivilegesOfRootTest, TheUserIsAnotherForGood) {
  InChild([] {
    EXPECT_TRUE(DropPrivileges(kWorkerUid).ok());
    ExpectNoCapabilities();
    const auto status = Status();
    EXPECT_EQ(status.at("CapBnd"), kNoCapability);
    EXPECT_EQ(status.at("Uid"), "20001 20001 20001 20001");
    EXPECT_NE(setuid(0), 0);
  });
}

TEST_F(PrivilegesOfRootTest, ASavedUserAndASavedGroupAreGivenUp) {
  InChild([] {
    ASSERT_EQ(setresgid(kOrdinaryUid, kOrdinaryUid, 0), 0);
    ASSERT_EQ(setresuid(kOrdinaryUid, kOrdinaryUid, 0), 0);
    EXPECT_TRUE(DropPrivileges(std::nullopt).ok());
    EXPECT_EQ(Status().at("Uid"), "65534 65534 65534 65534");
    EXPECT_EQ(Status().at("Gid"), "65534 65534 65534 65534");
  });
}

TEST_F(PrivilegesOfRootTest, GroupsStay) {
  InChild([] {
    const gid_t groups[] = {44, 109};
    ASSERT_EQ(setgroups(2, groups), 0);
    ASSERT_EQ(setgid(33), 0);
    EXPECT_TRUE(DropPrivileges(kWorkerUid).ok());
    EXPECT_EQ(Status().at("Gid"), "33 33 33 33");
    EXPECT_EQ(Status().at("Groups"), "44 109");
  });
}

TEST_F(PrivilegesOfRootTest, AnOrdinaryUserHasNothingToDropAndMayNotBecomeAnother) {
  InChild([] {
    BecomeOrdinary();
    EXPECT_TRUE(DropPrivileges(std::nullopt).ok());
    ExpectNoCapabilities();
    const absl::Status refused = DropPrivileges(kWorkerUid);
    EXPECT_EQ(refused.code(), absl::StatusCode::kPermissionDenied);
    EXPECT_NE(refused.message().find("become one user (uid 20001)"), std::string::npos) << refused.message();
  });
}

TEST_F(PrivilegesOfRootTest, RootMayRunOtherUsersAndAnOrdinaryUserMayNot) {
  InChild([] {
    EXPECT_TRUE(CheckMayRunOtherUsers().ok());
    BecomeOrdinary();
    EXPECT_NE(CheckMayRunOtherUsers().message().find("CAP_SETUID"), std::string::npos);
  });
}

// A worker that cannot be ended would be waited for.
TEST_F(PrivilegesOfRootTest, WhoCannotEndOtherUsersProcessesMayNotStartThem) {
  InChild([] {
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = {};
    sets[0].effective = sets[0].permitted = CAP_TO_MASK(CAP_SETUID);
    ASSERT_EQ(syscall(SYS_capset, &header, sets), 0);
    EXPECT_NE(CheckMayRunOtherUsers().message().find("CAP_KILL"), std::string::npos);
  });
}

}  // namespace
}  // namespace nvshim::broker
