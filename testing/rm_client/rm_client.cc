// Law: a driver of any version answers a client that was written after its headers: rm_client VERSION
// FACTS.csv. What it prints is what the machine is, and the same whatever the version.
#include "testing/rm_client/laws.h"

int main(int argc, char** argv) {
  victim::Law(argc == 3, "usage: rm_client VERSION FACTS.csv");
  victim::NeverHang();
  const nvshim::rm_client::Dialect dialect(argv[2]);
  const nvshim::rm_client::Session session(dialect, argv[1]);
  CheckAnswers(session, argv[1]);
  CheckMemory(session);
  CheckCopies(session);
  return 0;
}
