#include "preload/filters.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <thread>

#include "gtest/gtest.h"

namespace nvshim::preload {
namespace {

// Adds a filter that allows everything, for good: called in processes of their own.
void AddFilter() {
  sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  sock_fprog program = {1, &allow};
  ASSERT_EQ(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
  ASSERT_EQ(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

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

class FiltersTest : public ::testing::Test {
 protected:
  void SetUp() override {
    unsetenv("NVSHIM_FILTERS");
    if (prctl(PR_GET_SECCOMP) != 0) GTEST_SKIP() << "SKIPPED: the test itself runs under a filter";
  }
};

TEST_F(FiltersTest, WithoutAFilterThereIsNone) {
  EXPECT_FALSE(IsFiltered());
  setenv("NVSHIM_FILTERS", "0", 1);
  EXPECT_FALSE(IsFiltered());
}

TEST_F(FiltersTest, AFilterThatNobodyKnowsIsOne) {
  InChild([] {
    AddFilter();
    EXPECT_TRUE(IsFiltered());
    for (const char* value : {"", "0", "-1", "yes"}) {
      setenv("NVSHIM_FILTERS", value, 1);
      EXPECT_TRUE(IsFiltered()) << value;
    }
  });
}

TEST_F(FiltersTest, KnownFiltersAreNone) {
  InChild([] {
    setenv("NVSHIM_FILTERS", "1", 1);
    AddFilter();
    EXPECT_FALSE(IsFiltered());
    setenv("NVSHIM_FILTERS", "12", 1);
    for (int filters = 2; filters <= 12; ++filters) {
      AddFilter();
      EXPECT_FALSE(IsFiltered()) << filters;
    }
    AddFilter();
    EXPECT_TRUE(IsFiltered());
  });
}

TEST_F(FiltersTest, OneMoreThanIsKnownIsOne) {
  InChild([] {
    setenv("NVSHIM_FILTERS", "1", 1);
    AddFilter();
    AddFilter();
    EXPECT_TRUE(IsFiltered());
  });
}

TEST_F(FiltersTest, AFilterOfOneThreadIsNotThatOfAnother) {
  InChild([] {
    setenv("NVSHIM_FILTERS", "1", 1);
    AddFilter();
    std::thread([] {
      AddFilter();
      EXPECT_TRUE(IsFiltered());
    }).join();
    EXPECT_FALSE(IsFiltered());
  });
}

}  // namespace
}  // namespace nvshim::preload
