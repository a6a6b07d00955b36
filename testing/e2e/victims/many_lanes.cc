// Law: more threads than a region has lanes all get their answers, at the same time and again after they have
// ended and others have taken their place. A lane that is not given back when its thread ends is missed in
// the second round.
#include <pthread.h>

#include "testing/e2e/victims/rm.h"

namespace {

constexpr int kThreads = 100;  // a region has 64 lanes
constexpr int kGenerations = 4;
constexpr int kCalls = 50;

pthread_barrier_t all_hold_a_file;

void* Run(void*) {
  const victim::Session session = victim::OpenSession();
  pthread_barrier_wait(
      &all_hold_a_file);  // every thread has called once: as many lanes are wanted as there are threads
  for (int i = 0; i < kCalls; ++i) victim::Probe(session);
  close(session.fd);
  return nullptr;
}

}  // namespace

int main() {
  victim::NeverHang(120);
  victim::Law(pthread_barrier_init(&all_hold_a_file, nullptr, kThreads) == 0, "pthread_barrier_init fails");
  for (int generation = 0; generation < kGenerations; ++generation) {
    pthread_t threads[kThreads];
    for (pthread_t& thread : threads)
      victim::Law(pthread_create(&thread, nullptr, Run, nullptr) == 0, "pthread_create fails");
    for (pthread_t& thread : threads) victim::Law(pthread_join(thread, nullptr) == 0, "pthread_join fails");
  }
  victim::Probe(victim::OpenSession());
  return 0;
}
