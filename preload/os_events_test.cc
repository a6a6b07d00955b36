// Laws of the functions that follow poll, select and epoll, on a placeholder whose other end is the test:
// what they were told of is taken back, once, and nobody else's descriptor is touched.
#include "preload/os_events.h"

#include <errno.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdio>
#include <cstring>

namespace nvshim::preload {
namespace {

std::atomic<uint32_t> g_next_file = 1;

// A pair of sockets; the worker's end has a placeholder's name, or none.
class Pair {
 public:
  explicit Pair(bool is_placeholder = true) {
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends_) != 0) abort();
    if (!is_placeholder) return;
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    const int length = std::snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1,
                                     "nvshim/%016x/%08x/2/0", getpid(), g_next_file.fetch_add(1));
    const size_t size = offsetof(sockaddr_un, sun_path) + 1 + static_cast<size_t>(length);
    if (bind(ends_[0], reinterpret_cast<sockaddr*>(&address), static_cast<socklen_t>(size)) != 0) abort();
  }
  Pair(const Pair&) = delete;
  Pair& operator=(const Pair&) = delete;
  ~Pair() {
    close(ends_[0]);
    close(ends_[1]);
  }

  int fd() const { return ends_[1]; }
  void Signal() const { EXPECT_EQ(send(ends_[0], "", 1, 0), 1); }
  bool readable() const {
    pollfd entry{fd(), POLLIN, 0};
    return ::poll(&entry, 1, 0) == 1;
  }

 private:
  int ends_[2];
};

// poll as exports.cc does it.
int Poll(pollfd* fds, nfds_t count) {
  const int result = ::poll(fds, count, 0);
  if (result > 0) ConsumePolled(fds, count);
  return result;
}

TEST(OsEventsTest, AnEventIsPolledOnce) {
  const Pair file;
  pollfd entry{file.fd(), POLLIN, 0};
  EXPECT_EQ(Poll(&entry, 1), 0);
  for (int i = 0; i < 3; ++i) {
    file.Signal();
    EXPECT_EQ(Poll(&entry, 1), 1);
    EXPECT_EQ(entry.revents, POLLIN);
    EXPECT_EQ(Poll(&entry, 1), 0);
  }
}

TEST(OsEventsTest, WhoAsksForPriorityGetsItWithTheEvent) {
  const Pair file;
  pollfd entry{file.fd(), POLLIN | POLLPRI, 0};
  file.Signal();
  ASSERT_EQ(Poll(&entry, 1), 1);
  EXPECT_EQ(entry.revents, POLLIN | POLLPRI);
}

TEST(OsEventsTest, ADuplicateIsTheSameFile) {
  const Pair file;
  const int duplicate = dup(file.fd());
  pollfd entries[] = {{duplicate, POLLIN, 0}, {file.fd(), POLLIN, 0}};
  file.Signal();
  EXPECT_EQ(Poll(entries, 2), 2);
  EXPECT_EQ(Poll(entries, 2), 0);
  close(duplicate);
}

TEST(OsEventsTest, NothingIsReadFromOthers) {
  const Pair file, stranger(false);
  int pipe_ends[2];
  ASSERT_EQ(pipe(pipe_ends), 0);
  ASSERT_EQ(write(pipe_ends[1], "x", 1), 1);
  stranger.Signal();
  file.Signal();
  pollfd entries[] = {{stranger.fd(), POLLIN, 0}, {-1, POLLIN, 0}, {pipe_ends[0], POLLIN, 0}};
  EXPECT_EQ(Poll(entries, 3), 2);
  fd_set readable;
  FD_ZERO(&readable);
  FD_SET(stranger.fd(), &readable);
  FD_SET(pipe_ends[0], &readable);
  ConsumeSelected(FD_SETSIZE, &readable);
  EXPECT_TRUE(stranger.readable());
  EXPECT_EQ(Poll(entries, 3), 2);
  EXPECT_TRUE(file.readable()) << "nobody asked about it";
  close(pipe_ends[0]);
  close(pipe_ends[1]);
}

TEST(OsEventsTest, AnEventIsSelectedOnce) {
  const Pair file, other;
  file.Signal();
  other.Signal();
  fd_set readable;
  FD_ZERO(&readable);
  FD_SET(file.fd(), &readable);
  timeval now = {};
  ASSERT_EQ(::select(file.fd() + 1, &readable, nullptr, nullptr, &now), 1);
  ConsumeSelected(file.fd() + 1, &readable);
  EXPECT_TRUE(FD_ISSET(file.fd(), &readable));
  EXPECT_FALSE(file.readable());
  EXPECT_TRUE(other.readable());
  ConsumeSelected(FD_SETSIZE, nullptr);
}

class EpollFilesTest : public ::testing::Test {
 protected:
  EpollFilesTest() : epoll_(epoll_create1(EPOLL_CLOEXEC)) {}
  ~EpollFilesTest() override { close(epoll_); }

  // epoll_ctl and epoll_wait as exports.cc does them.
  void Control(int operation, int fd, uint64_t data, uint32_t flags = 0) {
    epoll_event event = {};
    event.events = EPOLLIN | flags;
    event.data.u64 = data;
    ASSERT_EQ(epoll_ctl(epoll_, operation, fd, &event), 0);
    files_.Control(epoll_, operation, fd, &event);
  }
  int Wait() {
    epoll_event events[8];
    const int count = epoll_wait(epoll_, events, 8, 0);
    if (count > 0 && files_.used()) files_.Consume(epoll_, events, count);
    return count;
  }

  const int epoll_;
  EpollFiles files_;
};

TEST_F(EpollFilesTest, AnEventIsReportedOnce) {
  for (const uint32_t flags : {0u, static_cast<uint32_t>(EPOLLET)}) {
    const Pair file;
    Control(EPOLL_CTL_ADD, file.fd(), 77, flags);
    for (int i = 0; i < 3; ++i) {
      file.Signal();
      EXPECT_EQ(Wait(), 1);
      EXPECT_EQ(Wait(), 0);
    }
  }
}

TEST_F(EpollFilesTest, ItIsFoundByTheDataThatWasGivenLast) {
  const Pair file;
  Control(EPOLL_CTL_ADD, file.fd(), 1);
  Control(EPOLL_CTL_MOD, file.fd(), 2);
  file.Signal();
  EXPECT_EQ(Wait(), 1);
  EXPECT_FALSE(file.readable());
}

TEST_F(EpollFilesTest, WhatWasTakenOutOrNeverReportedKeepsItsEvent) {
  const Pair taken_out, elsewhere, stranger(false);
  Control(EPOLL_CTL_ADD, taken_out.fd(), 1);
  Control(EPOLL_CTL_DEL, taken_out.fd(), 1);
  Control(EPOLL_CTL_ADD, stranger.fd(), 1);
  epoll_event event = {};
  event.data.u64 = 1;
  files_.Control(epoll_ + 1, EPOLL_CTL_ADD, elsewhere.fd(), &event);  // another epoll instance
  for (const Pair* file : {&taken_out, &elsewhere, &stranger}) file->Signal();
  EXPECT_EQ(Wait(), 1);
  for (const Pair* file : {&taken_out, &elsewhere, &stranger}) EXPECT_TRUE(file->readable());
}

TEST_F(EpollFilesTest, AFullTableForgetsTheOldest) {
  const Pair file;
  epoll_event event = {};
  for (uint32_t i = 0; i < EpollFiles::kSlots; ++i)
    files_.Control(10000 + static_cast<int>(i), EPOLL_CTL_ADD, file.fd(), &event);
  Control(EPOLL_CTL_ADD, file.fd(), 5);
  file.Signal();
  EXPECT_EQ(Wait(), 1);
  EXPECT_EQ(Wait(), 0);
}

TEST(OsEventsTest, ErrnoIsLeftAlone) {
  const Pair file;
  pollfd entries[] = {{file.fd(), POLLIN, POLLIN}, {-1, POLLIN, POLLIN}, {0, POLLIN, POLLIN}};
  errno = E2BIG;
  ConsumePolled(entries, 3);
  EXPECT_EQ(errno, E2BIG);
}

}  // namespace
}  // namespace nvshim::preload
