// What calls cost on files that are not NVIDIA's: nanoseconds per call of open and close, ioctl, mmap and
// munmap, stat, each in blocks of its own. Run once as it is and once with the shim preloaded by foreign.py;
// the difference is what the shim adds for everybody else. `foreign_bench count CALL TIMES` only makes the
// calls, for a tool that counts instructions.
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "testing/bench/bench.h"

namespace nvshim::bench {
namespace {

constexpr char kPath[] = "/dev/null";
constexpr int kBlocks = 40;
constexpr int kCallsPerBlock = 4'000;

int g_null;  // /dev/null, open all the time
int g_file;  // of one page, to be mapped

void OpenClose() {
  const int fd = open(kPath, O_RDWR | O_CLOEXEC);
  if (fd < 0 || close(fd) != 0) Die(kPath);
}
void Ioctl() {
  int size_bytes;
  if (ioctl(g_null, FIONREAD, &size_bytes) == 0) Die("/dev/null takes FIONREAD");
}
// A number that NVIDIA's driver takes: the shim has to ask whose file it is.
void IoctlLikeNvidias() {
  char bytes[32];
  if (ioctl(g_null, 0xc020462a, bytes) == 0) Die("/dev/null takes NV_ESC_RM_CONTROL");
}
void MapUnmap() {
  void* page = mmap(nullptr, 4096, PROT_READ, MAP_SHARED, g_file, 0);
  if (page == MAP_FAILED || munmap(page, 4096) != 0) Die("mmap");
}
void Stat() {
  struct stat status;
  if (stat(kPath, &status) != 0) Die("stat");
}

struct Call {
  const char* name;
  void (*make)();
};
constexpr Call kCalls[] = {{"open + close", OpenClose},
                           {"ioctl", Ioctl},
                           {"ioctl with a number of NVIDIA's", IoctlLikeNvidias},
                           {"mmap + munmap", MapUnmap},
                           {"stat", Stat}};

void MakeCalls(void (*make)(), int times) {
  for (int i = 0; i < times; ++i) make();
}

void Print(const Call& call) {
  std::vector<double> nanoseconds;
  for (int block = 0; block < kBlocks; ++block) {
    const auto start = Clock::now();
    MakeCalls(call.make, kCallsPerBlock);
    nanoseconds.push_back(MicrosecondsSince(start) * 1e3 / kCallsPerBlock);
  }
  std::printf("%s\t%.3f\n", call.name, Percentile(nanoseconds, 50));
}

}  // namespace
}  // namespace nvshim::bench

int main(int argc, char** argv) {
  using namespace nvshim::bench;
  g_null = open(kPath, O_RDWR | O_CLOEXEC);
  g_file = memfd_create("foreign_bench", MFD_CLOEXEC);
  if (g_null < 0 || g_file < 0 || ftruncate(g_file, 4096) != 0) Die("files to call");
  for (const Call& call : kCalls) {
    if (argc == 4 && std::strcmp(argv[2], call.name) == 0) MakeCalls(call.make, std::atoi(argv[3]));
    if (argc == 1) Print(call);
  }
  return 0;
}
