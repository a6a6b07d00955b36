#include "testing/bench/peers.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <mqueue.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>

#include "testing/bench/bench.h"

namespace nvshim::bench {
namespace {

// A child that ends with this process and runs `serve`.
template <typename Serve>
void StartServer(bool apart, Serve serve) {
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child < 0) Die("fork");
  if (child != 0) return;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(0);
  if (apart) StayOn(1);
  serve();
  _exit(0);
}

class SocketPeer final : public Peer {
 public:
  explicit SocketPeer(const Exchange& exchange) : bytes_(exchange.size_bytes) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) Die("socketpair");
    // A message must fit into what a socket may hold; more than the system allows is cut to that.
    const int room = static_cast<int>(2 * exchange.size_bytes + 4096);
    for (const int socket : pair)
      if (setsockopt(socket, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room)) != 0) Die("SO_SNDBUF");
    socket_ = pair[0];
    StartServer(exchange.apart, [&] {
      close(pair[0]);
      while (recv(pair[1], bytes_.data(), bytes_.size(), 0) > 0)
        if (send(pair[1], bytes_.data(), bytes_.size(), MSG_NOSIGNAL) < 0) break;
    });
    close(pair[1]);
  }
  ~SocketPeer() override { close(socket_); }
  std::vector<double> Measure(int times, std::chrono::microseconds pause) override {
    return bench::Measure(*this, times, pause);
  }
  void operator()() {
    if (send(socket_, bytes_.data(), bytes_.size(), MSG_NOSIGNAL) < 0) Die("send");
    if (recv(socket_, bytes_.data(), bytes_.size(), 0) < 0) Die("recv");
  }

 private:
  std::vector<char> bytes_;
  int socket_;
};

class QueuePeer final : public Peer {
 public:
  QueuePeer(const Exchange& exchange, mqd_t there, mqd_t back)
      : bytes_(exchange.size_bytes), there_(there), back_(back) {
    StartServer(exchange.apart, [&] {
      while (mq_receive(there_, bytes_.data(), bytes_.size(), nullptr) >= 0)
        if (mq_send(back_, bytes_.data(), bytes_.size(), 0) != 0) break;
    });
  }
  ~QueuePeer() override {
    mq_close(there_);
    mq_close(back_);
  }
  std::vector<double> Measure(int times, std::chrono::microseconds pause) override {
    return bench::Measure(*this, times, pause);
  }
  void operator()() {
    if (mq_send(there_, bytes_.data(), bytes_.size(), 0) != 0) Die("mq_send");
    if (mq_receive(back_, bytes_.data(), bytes_.size(), nullptr) < 0) Die("mq_receive");
  }

 private:
  std::vector<char> bytes_;
  mqd_t there_, back_;
};

// A page that both processes see, with the turn in a word of it: even is ours, odd the other side's.
class TurnPeer : public Peer {
 public:
  TurnPeer() {
    void* page = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) Die("mmap");
    turn_ = static_cast<std::atomic<uint32_t>*>(page);
  }
  ~TurnPeer() override { munmap(turn_, 4096); }

 protected:
  std::atomic<uint32_t>* turn_;
};

class FutexPeer final : public TurnPeer {
 public:
  explicit FutexPeer(const Exchange& exchange) {
    StartServer(exchange.apart, [&] {
      for (uint32_t turn = 1;; turn += 2) {
        Await(turn);
        Give(turn + 1);
      }
    });
  }
  std::vector<double> Measure(int times, std::chrono::microseconds pause) override {
    return bench::Measure(*this, times, pause);
  }
  void operator()() {
    Give(++mine_);
    Await(++mine_);
  }

 private:
  void Give(uint32_t turn) {
    turn_->store(turn, std::memory_order_seq_cst);
    syscall(SYS_futex, turn_, FUTEX_WAKE, 1, nullptr, nullptr, 0);
  }
  void Await(uint32_t turn) {
    for (uint32_t seen; (seen = turn_->load(std::memory_order_seq_cst)) != turn;)
      syscall(SYS_futex, turn_, FUTEX_WAIT, seen, nullptr, nullptr, 0);
  }
  uint32_t mine_ = 0;
};

class CacheLinePeer final : public TurnPeer {
 public:
  // The other side spins for as long as there is something to measure, and sleeps in between: it would
  // otherwise take its CPU away from everybody else that is measured.
  explicit CacheLinePeer(const Exchange& exchange) : asleep_(turn_ + 16) {
    StartServer(exchange.apart, [&] {
      for (uint32_t turn = 1;; turn += 2) {
        for (uint32_t seen; (seen = turn_->load(std::memory_order_acquire)) != turn;) {
          if (asleep_->load(std::memory_order_acquire) == 1)
            syscall(SYS_futex, asleep_, FUTEX_WAIT, 1, nullptr, nullptr, 0);
          __builtin_ia32_pause();
        }
        turn_->store(turn + 1, std::memory_order_release);
      }
    });
    asleep_->store(1, std::memory_order_seq_cst);
  }
  std::vector<double> Measure(int times, std::chrono::microseconds pause) override {
    asleep_->store(0, std::memory_order_seq_cst);
    syscall(SYS_futex, asleep_, FUTEX_WAKE, 1, nullptr, nullptr, 0);
    (*this)();  // it is awake then
    auto microseconds = bench::Measure(*this, times, pause);
    asleep_->store(1, std::memory_order_seq_cst);
    return microseconds;
  }
  void operator()() {
    turn_->store(++mine_, std::memory_order_release);
    ++mine_;
    while (turn_->load(std::memory_order_acquire) != mine_) __builtin_ia32_pause();
  }

 private:
  std::atomic<uint32_t>* asleep_;
  uint32_t mine_ = 0;
};

class DevNullPeer final : public Peer {
 public:
  DevNullPeer() : fd_(open("/dev/null", O_RDWR | O_CLOEXEC)) {
    if (fd_ < 0) Die("/dev/null");
  }
  ~DevNullPeer() override { close(fd_); }
  std::vector<double> Measure(int times, std::chrono::microseconds pause) override {
    return bench::Measure(*this, times, pause);
  }
  void operator()() {
    char bytes[32];
    syscall(SYS_ioctl, fd_, 0xc020462a, bytes);  // ENOTTY; not through the shim
  }

 private:
  int fd_;
};

class ProgramPeer final : public Peer {
 public:
  ProgramPeer(const std::string& path, const Exchange& exchange) {
    int to[2], from[2];
    if (pipe2(to, O_CLOEXEC) != 0 || pipe2(from, O_CLOEXEC) != 0) Die("pipe2");
    const std::string size_bytes = std::to_string(exchange.size_bytes);
    const pid_t child = fork();
    if (child < 0) Die("fork");
    if (child == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      unsetenv("LD_PRELOAD");
      dup2(to[0], STDIN_FILENO);
      dup2(from[1], STDOUT_FILENO);
      execl(path.c_str(), path.c_str(), size_bytes.c_str(), exchange.apart ? "apart" : "anywhere", nullptr);
      Die(path.c_str());
    }
    close(to[0]);
    close(from[1]);
    orders_ = fdopen(to[1], "w");
    answers_ = fdopen(from[0], "r");
  }
  ~ProgramPeer() override {
    fclose(orders_);
    fclose(answers_);
  }
  std::vector<double> Measure(int times, std::chrono::microseconds pause) override {
    std::fprintf(orders_, "%d %ld\n", times, static_cast<long>(pause.count()));
    std::fflush(orders_);
    size_t count;
    if (std::fread(&count, sizeof(count), 1, answers_) != 1) Die("a peer's program");
    std::vector<double> microseconds(count);
    if (std::fread(microseconds.data(), sizeof(double), count, answers_) != count) Die("a peer's program");
    return microseconds;
  }

 private:
  FILE* orders_;
  FILE* answers_;
};

mqd_t MakeQueue(const char* name, size_t size_bytes) {
  mq_attr attributes{};
  attributes.mq_maxmsg = 1;
  attributes.mq_msgsize = static_cast<long>(size_bytes);
  const mqd_t queue = mq_open(name, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600, &attributes);
  if (queue >= 0) mq_unlink(name);
  return queue;
}

}  // namespace

std::unique_ptr<Peer> MakeSocketPeer(const Exchange& exchange) {
  return std::make_unique<SocketPeer>(exchange);
}

std::unique_ptr<Peer> MakeQueuePeer(const Exchange& exchange) {
  const std::string name = "/nvshim-bench-" + std::to_string(getpid());
  const mqd_t there = MakeQueue((name + "-there").c_str(), exchange.size_bytes);
  const mqd_t back = MakeQueue((name + "-back").c_str(), exchange.size_bytes);
  if (there < 0 || back < 0) return nullptr;
  return std::make_unique<QueuePeer>(exchange, there, back);
}

std::unique_ptr<Peer> MakeFutexPeer(const Exchange& exchange) {
  return std::make_unique<FutexPeer>(exchange);
}

std::unique_ptr<Peer> MakeCacheLinePeer(const Exchange& exchange) {
  return std::make_unique<CacheLinePeer>(exchange);
}

std::unique_ptr<Peer> MakeDevNullPeer() { return std::make_unique<DevNullPeer>(); }

std::unique_ptr<Peer> MakeProgramPeer(const std::string& path, const Exchange& exchange) {
  return std::make_unique<ProgramPeer>(path, exchange);
}

}  // namespace nvshim::bench
