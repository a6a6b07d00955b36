#include "broker/run/guest_environment.h"

#include <filesystem>
#include <fstream>
#include <string>

#include "gtest/gtest.h"

namespace nvshim::broker {
namespace {

TEST(PreloadOfTest, TheLibraryComesFirstAndNothingIsLost) {
  EXPECT_EQ(*PreloadOf("/lib/a.so", ""), "/lib/a.so");
  EXPECT_EQ(*PreloadOf("/lib/a.so", "/b.so:/c.so"), "/lib/a.so:/b.so:/c.so");
}

TEST(PreloadOfTest, RefusesPathsThatTheLinkerWouldSplit) {
  EXPECT_FALSE(PreloadOf("/my lib/a.so", "").ok());
  EXPECT_FALSE(PreloadOf("/lib:/a.so", "").ok());
}

TEST(SocketOfTest, AGuestsSocketIsBesideTheBrokers) {
  EXPECT_EQ(*SocketOf("", "/run/gpu-broker/gpu-broker.sock"), "/run/gpu-broker/gpu-broker.sock");
  EXPECT_EQ(*SocketOf("alice", "/run/gpu-broker/gpu-broker.sock"), "/run/gpu-broker/alice.sock");
  EXPECT_EQ(*SocketOf("v1.2", "gpu-broker.sock"), "v1.2.sock");
}

TEST(SocketOfTest, ASocketOfTheUnitIsPreferred) {
  const std::filesystem::path root = std::filesystem::path(::testing::TempDir()) / "socket_of";
  std::filesystem::create_directories(root / "guests");
  std::ofstream(root / "guests" / "alice.sock").put('x');
  EXPECT_EQ(*SocketOf("alice", root / "gpu-broker.sock"), root / "guests" / "alice.sock");
  EXPECT_EQ(*SocketOf("bob", root / "gpu-broker.sock"), root / "bob.sock");
}

TEST(SocketOfTest, ANameIsNoPath) {
  EXPECT_FALSE(SocketOf("../alice", "/run/gpu-broker.sock").ok());
  EXPECT_FALSE(SocketOf("/alice", "/run/gpu-broker.sock").ok());
}

TEST(FiltersOfTest, CountsOneMore) {
  EXPECT_EQ(FiltersOf(""), "1");
  EXPECT_EQ(FiltersOf("1"), "2");
  EXPECT_EQ(FiltersOf("nonsense"), "1");
  EXPECT_EQ(FiltersOf("-7"), "1");
}

TEST(FindLibraryTest, LooksBesideTheBinaryAndWhereItIsInstalled) {
  const std::filesystem::path root = std::filesystem::path(::testing::TempDir()) / "find_library";
  std::filesystem::remove_all(root);
  std::filesystem::create_directories(root / "bin");
  const std::string binary = root / "bin" / "nvshim-run";
  EXPECT_FALSE(FindLibrary(binary).ok());
  for (const char* folder :
       {"lib/nvshim", "lib/x86_64-linux-gnu", "lib", "bin"}) {  // each is preferred to those before it
    std::filesystem::create_directories(root / folder);
    const std::filesystem::path library = root / folder / "libnvshim.so";
    std::ofstream(library).put('x');
    EXPECT_EQ(*FindLibrary(binary), library);
  }
}

}  // namespace
}  // namespace nvshim::broker
