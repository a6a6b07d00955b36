// Round trip of one small RM ioctl (NV0000_CTRL_CMD_GPU_GET_MEMOP_ENABLE, 32 + 4 bytes of parameters) through
// the shim that is preloaded into this program, beside the same bytes echoed by another process over a Unix
// SEQPACKET socket. Both in one run, in alternating blocks, so that what else the machine does falls on both;
// the figure to look at is the ratio. Hot: back to back. Idle: after a pause long enough for the other side
// to be asleep.
// With --apart this program stays on CPU 0 and the echo on CPU 1, where the script has put the broker as
// well: what the exchange costs when nobody has to wait for a CPU. Prints JSON lines; testing/bench/run,
// which starts it, makes a table of them.
#include <fcntl.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

constexpr unsigned long kIoctlRmAlloc = 0xc020462b;
constexpr unsigned long kIoctlRmControl = 0xc020462a;
constexpr uint32_t NV0000_CTRL_CMD_GPU_GET_MEMOP_ENABLE = 0x27b;

// Frame header, body and both segments of this call, as the shim puts them into the ring.
constexpr size_t kEchoSizeBytes = 104;

// The worker spins for 20 us before it sleeps; a kernel thread's wake-up is over long before this.
constexpr std::chrono::microseconds kIdlePause(1000);

constexpr int kBlocks = 10;

struct Nvos54 {
  uint32_t client, object, cmd, flags;
  uint64_t params;
  uint32_t params_size, status;
};

[[noreturn]] void Die(const char* what) {
  std::perror(what);
  std::exit(1);
}

void StayOn(int cpu) {
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  CPU_SET(cpu, &cpus);
  if (sched_setaffinity(0, sizeof(cpus), &cpus) != 0) Die("sched_setaffinity");
}

// One RM control on a client of our own.
class Ioctl {
 public:
  Ioctl() {
    fd_ = open("/dev/nvidiactl", O_RDWR | O_CLOEXEC);
    if (fd_ < 0) Die("open /dev/nvidiactl (is the shim preloaded and the broker running?)");
    std::array<uint32_t, 8> nvos21{};
    if (ioctl(fd_, kIoctlRmAlloc, nvos21.data()) != 0 || nvos21[7] != 0) Die("NV_ESC_RM_ALLOC");
    client_ = nvos21[2];
  }
  void operator()() {
    uint32_t enabled = 0;
    Nvos54 call{client_,
                client_,
                NV0000_CTRL_CMD_GPU_GET_MEMOP_ENABLE,
                0,
                reinterpret_cast<uint64_t>(&enabled),
                sizeof(enabled),
                0};
    if (ioctl(fd_, kIoctlRmControl, &call) != 0 || call.status != 0) Die("NV_ESC_RM_CONTROL");
  }

 private:
  int fd_;
  uint32_t client_;
};

// A process that sends back what it gets.
class Echo {
 public:
  explicit Echo(bool apart) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) Die("socketpair");
    socket_ = pair[0];
    if (fork() == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (apart) StayOn(1);
      close(pair[0]);
      std::array<char, kEchoSizeBytes> bytes;
      while (recv(pair[1], bytes.data(), bytes.size(), 0) > 0)
        if (send(pair[1], bytes.data(), bytes.size(), MSG_NOSIGNAL) < 0) break;
      _exit(0);
    }
    close(pair[1]);
  }
  ~Echo() { close(socket_); }
  void operator()() {
    std::array<char, kEchoSizeBytes> bytes{};
    if (send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL) < 0) Die("send");
    if (recv(socket_, bytes.data(), bytes.size(), 0) < 0) Die("recv");
  }

 private:
  int socket_;
};

template <typename Call>
void Measure(Call& call, int times, std::chrono::microseconds pause, std::vector<double>& microseconds) {
  for (int i = 0; i < times; ++i) {
    if (pause.count() != 0) std::this_thread::sleep_for(pause);
    const auto start = Clock::now();
    call();
    microseconds.push_back(std::chrono::duration<double, std::micro>(Clock::now() - start).count());
  }
}

double Percentile(std::vector<double>& sorted, double percent) {
  return sorted[std::min(sorted.size() - 1,
                         static_cast<size_t>(static_cast<double>(sorted.size()) * percent / 100))];
}

void Report(const char* name, std::vector<double>& ours, std::vector<double>& echo) {
  std::sort(ours.begin(), ours.end());
  std::sort(echo.begin(), echo.end());
  for (const double percent : {50.0, 90.0, 99.0, 99.9}) {
    const double a = Percentile(ours, percent);
    const double b = Percentile(echo, percent);
    std::printf(
        "{\"name\":\"ioctl %s p%g\",\"value\":%.3f,\"unit\":\"us\",\"peer\":\"unix_seqpacket_echo\","
        "\"peer_value\":%.3f,\"ratio\":%.3f}\n",
        name, percent, a, b, a / b);
  }
}

}  // namespace

int main(int argc, char** argv) {
  int hot = 20'000;
  int idle = 200;
  bool apart = false;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--quick") == 0) {
      hot = 2'000;
      idle = 30;
    } else if (std::strcmp(argv[i], "--apart") == 0) {
      apart = true;
    } else {
      std::fprintf(stderr, "usage: ioctl_bench [--quick] [--apart]\n");
      return 2;
    }
  }
  Echo echo(apart);  // forked before the first GPU use: no guest process
  if (apart) StayOn(0);
  Ioctl small_ioctl;
  std::vector<double> ours_hot, echo_hot, ours_idle, echo_idle;
  std::vector<double> warm_up;
  Measure(small_ioctl, 1000, {}, warm_up);
  Measure(echo, 1000, {}, warm_up);
  for (int block = 0; block < kBlocks; ++block) {
    Measure(small_ioctl, hot / kBlocks * 5, {}, ours_hot);
    Measure(echo, hot / kBlocks * 5, {}, echo_hot);
    Measure(small_ioctl, idle / kBlocks * 5, kIdlePause, ours_idle);
    Measure(echo, idle / kBlocks * 5, kIdlePause, echo_idle);
  }
  Report(apart ? "apart hot" : "hot", ours_hot, echo_hot);
  Report(apart ? "apart idle" : "idle", ours_idle, echo_idle);
  return 0;
}
