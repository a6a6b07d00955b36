// Law: a thread cancelled in the middle of open and ioctl is joined as PTHREAD_CANCELED, and takes nothing
// with it: more threads are cancelled here than there are lanes, and afterwards every call still works. A
// thread cancelled while it waits for a device file in poll, select or epoll_wait is joined so as well.
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/epoll.h>
#include <sys/select.h>

#include <initializer_list>

#include "testing/e2e/victims/rm.h"

namespace {

constexpr int kCancelled = 150;  // more than twice the lanes of a region
constexpr int kCallsAfter = 200;

sem_t running;

void CloseFd(void* fd) { close(*static_cast<int*>(fd)); }

// open and close are cancellation points, ioctl is not. The clean-up is for the calls in between: in C++ it
// is a destructor, and cancelling a close inside of one would end the process whatever the shim does.
void* CallForever(void*) {
  sem_post(&running);
  for (;;) {
    int fd = open(victim::kCtl, O_RDWR | O_CLOEXEC);
    pthread_cleanup_push(CloseFd, &fd);
    victim::Law(fd >= 0, "open fails in a thread that is about to be cancelled");
    const uint32_t client = victim::NewClient(fd);
    for (int i = 0; i < 4; ++i) victim::Probe(fd, client);
    pthread_testcancel();
    pthread_cleanup_pop(0);
    close(fd);
  }
  return nullptr;
}

// Ways to wait without end for the file `*fd`.
void* Poll(void* fd) {
  pollfd entry = {*static_cast<int*>(fd), POLLIN, 0};
  sem_post(&running);
  for (;;) poll(&entry, 1, -1);
}
void* Ppoll(void* fd) {
  pollfd entry = {*static_cast<int*>(fd), POLLIN, 0};
  sem_post(&running);
  for (;;) ppoll(&entry, 1, nullptr, nullptr);
}
void* Select(void* fd) {
  const int number = *static_cast<int*>(fd);
  fd_set readable;
  FD_ZERO(&readable);
  FD_SET(number, &readable);
  sem_post(&running);
  for (;;) select(number + 1, &readable, nullptr, nullptr, nullptr);
}
void* EpollWait(void* fd) {
  const int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  epoll_event event = {};
  event.events = EPOLLIN;
  victim::Law(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, *static_cast<int*>(fd), &event) == 0, "epoll_ctl fails");
  sem_post(&running);
  for (;;) epoll_wait(epoll_fd, &event, 1, -1);
}

void AwaitRunning() {
  while (sem_wait(&running) != 0) victim::Law(errno == EINTR, "sem_wait fails");
}

void CancelAndJoin(pthread_t thread) {
  victim::Law(pthread_cancel(thread) == 0, "pthread_cancel fails");
  void* result = nullptr;
  victim::Law(pthread_join(thread, &result) == 0, "pthread_join fails");
  victim::Law(result == PTHREAD_CANCELED, "a cancelled thread is not joined as cancelled");
}

}  // namespace

int main() {
  victim::NeverHang(120);
  victim::Law(sem_init(&running, 0, 0) == 0, "sem_init fails");
  const victim::Session session = victim::OpenSession();
  for (int i = 0; i < kCancelled; ++i) {
    pthread_t thread;
    victim::Law(pthread_create(&thread, nullptr, CallForever, nullptr) == 0, "pthread_create fails");
    AwaitRunning();
    for (int call = 0; call < i % 8; ++call)
      victim::Probe(session);  // cancel at a different moment each time
    CancelAndJoin(thread);
  }
  int fd = session.fd;
  for (auto* wait : {Poll, Ppoll, Select, EpollWait}) {
    pthread_t thread;
    victim::Law(pthread_create(&thread, nullptr, wait, &fd) == 0, "pthread_create fails");
    AwaitRunning();
    CancelAndJoin(thread);
  }
  for (int i = 0; i < kCallsAfter; ++i) victim::Probe(session);
  for (int i = 0; i < kCallsAfter; ++i) close(victim::OpenSession().fd);
  return 0;
}
