// Law: threads that call at the same time each get their own answer. Four kinds of calls with four different
// right answers run in every thread, shifted against each other, so that a reply delivered to the wrong
// thread is seen.
#include <pthread.h>

#include <set>
#include <vector>

#include "testing/e2e/victims/rm.h"

namespace {

constexpr int kThreads = 16;
constexpr int kRounds = 1000;  // of four calls each

struct Work {
  int index;
  victim::Session shared;         // one file used by all
  std::vector<uint32_t> clients;  // made by this thread
};

void ExpectStatus(int64_t result, uint32_t status, const char* what) {
  victim::Law(result == -1 - int64_t{status}, "%s answers %lld, status 0x%x is right", what,
              static_cast<long long>(result), status);
}

void RefusedClass(const victim::Session& session) {
  victim::Nvos21 call = {session.client, session.client, 0xcafe0001, victim::kClassUnknown, 0, 0, 0};
  const int error = victim::TryAlloc(session.fd, &call);
  victim::Law(error == 0 && call.status == victim::kStatusInvalidClass,
              "an unknown class: errno %d, status 0x%x", error, call.status);
  victim::Law(call.object_class == victim::kClassUnknown, "hClass comes back changed");
}

void OneCall(Work* work, const victim::Session& own, int kind) {
  uint32_t nothing[4] = {1, 2, 3, 4};
  switch (kind % 4) {
    case 0:
      victim::Probe(own);
      break;
    case 1:
      victim::Probe(work->shared);
      break;
    case 2:
      ExpectStatus(victim::TryControl(own.fd, own.client, victim::kControlUnknown, nothing, sizeof(nothing)),
                   victim::kStatusNotSupported, "an unknown control");
      break;
    case 3:
      RefusedClass(own);
      break;
  }
}

void* Run(void* argument) {
  Work* work = static_cast<Work*>(argument);
  const victim::Session own = victim::OpenSession();
  for (int round = 0; round < kRounds; ++round) {
    for (int kind = 0; kind < 4; ++kind) OneCall(work, own, kind + work->index + round);
    if (round % 100 == 0) work->clients.push_back(victim::NewClient(own.fd));
  }
  for (uint32_t client : work->clients) victim::Probe(own.fd, client);
  return nullptr;
}

}  // namespace

int main() {
  victim::NeverHang(120);
  const victim::Session shared = victim::OpenSession();
  pthread_t threads[kThreads];
  Work works[kThreads];
  for (int i = 0; i < kThreads; ++i) {
    works[i] = {i, shared, {}};
    victim::Law(pthread_create(&threads[i], nullptr, Run, &works[i]) == 0, "pthread_create fails");
  }
  std::set<uint32_t> clients;
  size_t made = 0;
  for (int i = 0; i < kThreads; ++i) {
    victim::Law(pthread_join(threads[i], nullptr) == 0, "pthread_join fails");
    made += works[i].clients.size();
    clients.insert(works[i].clients.begin(), works[i].clients.end());
  }
  victim::Law(clients.size() == made, "%zu clients have %zu different handles", made, clients.size());
  return 0;
}
