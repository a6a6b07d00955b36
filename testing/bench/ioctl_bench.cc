// Round trips of RM controls through the shim that is preloaded into this program, beside the same number of
// bytes exchanged with another process in other ways. All in one run, in alternating blocks, so that what
// else the machine does falls on all of them; the figure to look at is the ratio.
//
//   regimes   one small control: hot is back to back, warm every 100 us, idle after a pause long enough for
//             the other side to be asleep
//   payload   hot, with more and more bytes
//   threads   hot, from several threads of this process
//   beside    hot, while another thread makes calls that keep the worker busy
//
// With --apart this program stays on CPU 0 and the peers' other sides on CPU 1, where the script has put the
// broker as well: what the exchange costs when nobody has to wait for a CPU. With --together the script has
// put all of them on one CPU, which this program only says. Prints JSON lines; testing/bench/run, which
// starts it, makes a table of them.
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "testing/bench/bench.h"
#include "testing/bench/peers.h"
#include "testing/bench/rm_calls.h"

namespace nvshim::bench {
namespace {

struct Options {
  bool quick = false;
  bool apart = false;
  std::string where;  // "apart ", "together ", or nothing, as the scheduler has it
  std::string part;
  std::vector<std::pair<std::string, std::string>> programs;  // peers that are programs: name, path
};

constexpr int kBlocks = 10;
constexpr int kWarmUpCalls = 200;

// A name, and times per block: as many as take about as long as the others.
struct Contender {
  std::string name;
  std::unique_ptr<Peer> peer;
  bool counts_everything;  // its higher percentiles are reported as well
  int share;               // measured this many times less often
};

std::vector<Contender> MakePeers(const Options& options, const Exchange& exchange) {
  std::vector<Contender> peers;
  const auto add = [&](const char* name, std::unique_ptr<Peer> peer, bool counts_everything = false) {
    if (peer != nullptr) peers.push_back({name, std::move(peer), counts_everything, 1});
  };
  add("unix_seqpacket", MakeSocketPeer(exchange), true);
  add("posix_mq", MakeQueuePeer(exchange));
  for (const auto& [name, path] : options.programs)
    peers.push_back({name, MakeProgramPeer(path, exchange), false, 5});
  return peers;
}

// ---- regimes ----

struct Regime {
  const char* name;
  std::chrono::microseconds pause;
  int calls, calls_quick;
};
constexpr Regime kRegimes[] = {
    {"hot", std::chrono::microseconds(0), 100'000, 10'000},
    {"warm", std::chrono::microseconds(100), 5'000, 500},
    // The worker spins for 20 us before it sleeps; a kernel thread's wake-up is over long before this.
    {"idle", std::chrono::microseconds(1000), 1'000, 100},
};

void ReportRegime(const std::string& name, const std::vector<double>& ours,
                  const std::vector<Contender>& peers, const std::vector<std::vector<double>>& theirs) {
  for (size_t i = 0; i < peers.size(); ++i) {
    for (const double percent : {50.0, 90.0, 99.0, 99.9}) {
      if (percent != 50.0 && !peers[i].counts_everything) continue;
      char percentile[16];
      std::snprintf(percentile, sizeof(percentile), " p%g", percent);
      Report(name + percentile, Percentile(ours, percent), "us", peers[i].name,
             Percentile(theirs[i], percent));
    }
  }
}

void MeasureRegimes(const Options& options) {
  const Exchange exchange{SmallCall::kFrameSizeBytes, options.apart};
  auto peers = MakePeers(options, exchange);
  peers.push_back({"futex", MakeFutexPeer(exchange), false, 1});
  // Two that spin on one CPU would only wait for each other's time slices.
  if (options.apart) peers.push_back({"cache_line", MakeCacheLinePeer(exchange), false, 1});
  peers.push_back({"dev_null", MakeDevNullPeer(), false, 1});
  const SmallCall small;
  Measure(small, kWarmUpCalls, {});
  for (Contender& peer : peers) peer.peer->Measure(kWarmUpCalls, {});
  for (const Regime& regime : kRegimes) {
    const int calls = (options.quick ? regime.calls_quick : regime.calls) / kBlocks;
    std::vector<double> ours;
    std::vector<std::vector<double>> theirs(peers.size());
    for (int block = 0; block < kBlocks; ++block) {
      Append(ours, Measure(small, calls, regime.pause));
      for (size_t i = 0; i < peers.size(); ++i)
        Append(theirs[i], peers[i].peer->Measure(calls / peers[i].share, regime.pause));
    }
    ReportRegime("ioctl " + options.where + regime.name, ours, peers, theirs);
  }
}

// ---- payload ----

void MeasurePayload(const Options& options) {
  for (const uint32_t size_bytes : {64u, 1u << 10, 16u << 10, 256u << 10}) {
    auto peers = MakePeers(options, {size_bytes + SmallCall::kFrameSizeBytes, options.apart});
    SizedCall sized(size_bytes);
    Measure(sized, kWarmUpCalls, {});
    for (Contender& peer : peers) peer.peer->Measure(kWarmUpCalls, {});
    const int calls = (options.quick ? 2'000 : 20'000) / kBlocks / (size_bytes > 64u << 10 ? 10 : 1);
    std::vector<double> ours;
    std::vector<std::vector<double>> theirs(peers.size());
    for (int block = 0; block < kBlocks; ++block) {
      Append(ours, Measure(sized, calls, {}));
      for (size_t i = 0; i < peers.size(); ++i)
        Append(theirs[i], peers[i].peer->Measure(calls / peers[i].share, {}));
    }
    for (size_t i = 0; i < peers.size(); ++i)
      Report("payload " + options.where + std::to_string(size_bytes) + " B p50", Percentile(ours, 50), "us",
             peers[i].name, Percentile(theirs[i], 50));
  }
}

// ---- threads ----

struct Load {
  double calls_per_second;
  std::vector<double> microseconds;
};

// `make` is called in each thread for what it calls; all start together.
Load Run(int threads, std::chrono::milliseconds duration,
         const std::function<std::function<void()>(int)>& make) {
  std::atomic<int> ready{0};
  std::atomic<bool> go{false}, stop{false};
  std::vector<std::vector<double>> microseconds(static_cast<size_t>(threads));
  std::vector<std::thread> running;
  for (int i = 0; i < threads; ++i) {
    running.emplace_back([&, i] {
      const auto call = make(i);
      for (int warm_up = 0; warm_up < kWarmUpCalls; ++warm_up) call();
      ++ready;
      while (!go.load()) std::this_thread::yield();
      while (!stop.load(std::memory_order_relaxed)) {
        const auto start = Clock::now();
        call();
        microseconds[static_cast<size_t>(i)].push_back(MicrosecondsSince(start));
      }
    });
  }
  while (ready.load() != threads) std::this_thread::yield();
  const auto start = Clock::now();
  go = true;
  std::this_thread::sleep_for(duration);
  stop = true;
  for (std::thread& thread : running) thread.join();
  Load load{};
  for (const auto& one : microseconds) Append(load.microseconds, one);
  load.calls_per_second = static_cast<double>(load.microseconds.size()) / MicrosecondsSince(start) * 1e6;
  return load;
}

void MeasureThreads(const Options& options) {
  const std::chrono::milliseconds duration(options.quick ? 200 : 1500);
  for (const int threads : {1, 2, 4, 16}) {
    std::vector<std::unique_ptr<Peer>> sockets;  // an echo process for each thread
    for (int i = 0; i < threads; ++i) sockets.push_back(MakeSocketPeer({SmallCall::kFrameSizeBytes, false}));
    const Load theirs = Run(threads, duration, [&](int i) {
      return [peer = sockets[static_cast<size_t>(i)].get()] { peer->Measure(1, {}); };
    });
    const Load ours =
        Run(threads, duration, [](int) { return [small = std::make_shared<SmallCall>()] { (*small)(); }; });
    const std::string name = "threads " + std::to_string(threads);
    Report(name + " calls", ours.calls_per_second, "1/s", "unix_seqpacket", theirs.calls_per_second);
    for (const double percent : {50.0, 99.0})
      Report(name + (percent == 50.0 ? " p50" : " p99"), Percentile(ours.microseconds, percent), "us",
             "unix_seqpacket", Percentile(theirs.microseconds, percent));
  }
}

// ---- beside ----

void MeasureBeside(const Options& options) {
  const std::chrono::milliseconds duration(options.quick ? 300 : 3000);
  const SmallCall small;
  const auto measure = [&] { return Run(1, duration, [&](int) { return [&] { small(); }; }); };
  const Load alone = measure();
  std::atomic<bool> stop{false};
  std::thread busy([&] {
    SizedCall large(256u << 10);
    while (!stop.load(std::memory_order_relaxed)) large();
  });
  const Load beside = measure();
  stop = true;
  busy.join();
  for (const double percent : {50.0, 99.0})
    Report(std::string("beside calls of 256 KiB on another lane ") + (percent == 50.0 ? "p50" : "p99"),
           Percentile(beside.microseconds, percent), "us", "alone", Percentile(alone.microseconds, percent));
}

int Main(const Options& options) {
  if (options.apart) StayOn(0);
  if (options.part == "regimes") MeasureRegimes(options);
  if (options.part == "payload") MeasurePayload(options);
  if (options.part == "threads") MeasureThreads(options);
  if (options.part == "beside") MeasureBeside(options);
  return 0;
}

}  // namespace
}  // namespace nvshim::bench

int main(int argc, char** argv) {
  nvshim::bench::Options options;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--quick") == 0) {
      options.quick = true;
    } else if (std::strcmp(argv[i], "--apart") == 0) {
      options.apart = true;
      options.where = "apart ";
    } else if (std::strcmp(argv[i], "--together") == 0) {
      options.where = "together ";
    } else if (std::strcmp(argv[i], "--peer") == 0 && i + 2 < argc) {
      options.programs.emplace_back(argv[i + 1], argv[i + 2]);
      i += 2;
    } else {
      options.part = argv[i];
    }
  }
  if (options.part.empty()) {
    std::fprintf(stderr,
                 "usage: ioctl_bench [--quick] [--apart | --together] [--peer NAME PROGRAM]... "
                 "regimes|payload|threads|beside\n");
    return 2;
  }
  return nvshim::bench::Main(options);
}
