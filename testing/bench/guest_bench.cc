// Many guests of one broker, played by this one program through raw frames (testing/guest/raw_guest.h): what
// it costs to arrive and to leave, and what a call costs when many are there. Guest number i connects to
// FOLDER/i, a named socket of the broker's. Prints JSON lines; testing/bench/guests.py starts it and the
// broker.
//
//   attach FOLDER COUNT     new guests one by one, more processes of them, then as many new guests at once
//   teardown FOLDER         a guest with many objects goes
//   load FOLDER COUNT       attaches COUNT guests, then obeys lines of standard input and answers each:
//                           "hot ACTIVE SECONDS", each active guest asks again as soon as it is answered;
//                           "rate ACTIVE SECONDS CALLS_PER_SECOND", in turns, at times that do not wait for
//                           answers
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "broker/supervisor/control_client.h"
#include "testing/bench/bench.h"
#include "testing/guest/raw_guest.h"

namespace nvshim::bench {
namespace {

using testing::RawGuest;

constexpr uint32_t NV01_DEVICE_0 = 0x80;
constexpr uint32_t FERMI_VASPACE_A = 0x90f1;
constexpr uint32_t NV0000_CTRL_CMD_GPU_GET_MEMOP_ENABLE = 0x27b;
constexpr uint32_t kLane = 1;  // lane 0 is RawGuest's own
constexpr int kObjects = 10'000;

// A guest process with a ctl file open.
struct Guest {
  std::unique_ptr<RawGuest> raw;
  testing::OpenAnswer file;

  explicit Guest(const std::string& socket) : raw(RawGuest::Connect(socket)) {
    if (raw == nullptr) Die(socket.c_str());
    const auto answer = raw->Open(DEVICE_CLASS_CTL);
    if (!answer || answer->error != 0) Die("/dev/nvidiactl");
    file = *answer;
  }
  ~Guest() { close(file.fd); }
  uint32_t NewClient() {
    const auto answer = testing::AllocClient(*raw, file.file_id);
    if (!answer || answer->status != 0) Die("NV01_ROOT");
    return answer->handle;
  }
};

std::string SocketOf(const std::string& folder, int guest) { return folder + "/" + std::to_string(guest); }

// ---- attach ----

void SpawnAndWait() {
  char path[] = "/bin/true";
  char* arguments[] = {path, nullptr};
  pid_t child;
  if (posix_spawn(&child, path, nullptr, nullptr, arguments, environ) != 0 ||
      waitpid(child, nullptr, 0) != child)
    Die(path);
}

// Milliseconds until each of `count` threads has called `one` with its number.
template <typename One>
double AtOnce(int count, One one) {
  const auto start = Clock::now();
  std::vector<std::thread> threads;
  for (int i = 0; i < count; ++i) threads.emplace_back([&one, i] { one(i); });
  for (std::thread& thread : threads) thread.join();
  return MicrosecondsSince(start) / 1e3;
}

void MeasureAttach(const std::string& folder, int count) {
  std::vector<double> new_guest, new_process, spawn;
  std::vector<std::unique_ptr<Guest>> guests(static_cast<size_t>(2 * count));
  for (int i = 0; i < count; ++i) {
    auto start = Clock::now();
    guests[static_cast<size_t>(i)] = std::make_unique<Guest>(SocketOf(folder, i));
    new_guest.push_back(MicrosecondsSince(start) / 1e3);
    start = Clock::now();
    const Guest process(SocketOf(folder, i));
    new_process.push_back(MicrosecondsSince(start) / 1e3);
    start = Clock::now();
    SpawnAndWait();
    spawn.push_back(MicrosecondsSince(start) / 1e3);
  }
  for (const double percent : {50.0, 99.0}) {
    const std::string percentile = percent == 50.0 ? " p50" : " p99";
    Report("attach of a new guest" + percentile, Percentile(new_guest, percent), "ms", "spawn_true",
           Percentile(spawn, percent));
    Report("attach of a new process" + percentile, Percentile(new_process, percent), "ms", "spawn_true",
           Percentile(spawn, percent));
  }
  const double spawns_ms = AtOnce(count, [](int) { SpawnAndWait(); });
  const double guests_ms = AtOnce(count, [&](int i) {
    guests[static_cast<size_t>(count + i)] = std::make_unique<Guest>(SocketOf(folder, count + i));
  });
  Report("attach of " + std::to_string(count) + " new guests at once, all of them", guests_ms, "ms",
         "spawn_true", spawns_ms);
}

// ---- teardown ----

void MeasureTeardown(const std::string& folder) {
  const char* broker = std::getenv("NVSHIM_SOCKET");
  if (broker == nullptr) Die("NVSHIM_SOCKET");
  const auto objects = [&] {
    const auto statistics = broker::AskStatistics(broker);
    if (!statistics.ok()) Die("statistics");
    return statistics->objects();
  };
  auto guest = std::make_unique<Guest>(SocketOf(folder, 0));
  const uint32_t client = guest->NewClient();
  const uint32_t device = client + 1;
  if (testing::AllocObject(*guest->raw, guest->file.file_id, client, client, device, NV01_DEVICE_0,
                           std::vector<uint8_t>(56))
          ->status != 0)
    Die("NV01_DEVICE_0");
  auto start = Clock::now();
  for (uint32_t i = 1; i <= kObjects; ++i)
    if (testing::AllocObject(*guest->raw, guest->file.file_id, client, device, device + i, FERMI_VASPACE_A,
                             std::vector<uint8_t>(48))
            ->status != 0)
      Die("FERMI_VASPACE_A");
  Report("objects, to make one of 10,000", MicrosecondsSince(start) / kObjects, "us");
  if (objects() < kObjects) Die("objects are missing");
  start = Clock::now();
  guest.reset();
  while (objects() != 0) {
  }
  Report("teardown of a guest with 10,000 objects", MicrosecondsSince(start) / 1e3, "ms");
}

// ---- load ----

// A guest that asks on a lane of its own without waiting.
class Asker {
 public:
  explicit Asker(const std::string& socket) : guest_(socket) {
    const uint32_t client = guest_.NewClient();
    wire::LaneHeader* lane = wire::LaneOf(guest_.raw->base(), kLane);
    requests_ = {wire::RequestRingOf(guest_.raw->base(), kLane), wire::kRingSizeBytes, &lane->request_tail,
                 &lane->request_head};
    responses_ = {wire::ResponseRingOf(guest_.raw->base(), kLane), wire::kRingSizeBytes, &lane->response_head,
                  &lane->response_tail};
    MakeFrame(client);
  }
  void Ask() {
    requests_.Begin(static_cast<uint32_t>(frame_.size()));
    requests_.Write(frame_.data(), static_cast<uint32_t>(frame_.size()));
    requests_.Publish();
    guest_.raw->Ring(uint64_t{1} << kLane);
  }
  bool TakeAnswer() {
    const uint32_t size_bytes = responses_.Available();
    if (size_bytes == 0) return false;
    responses_.Skip(size_bytes);
    responses_.Finish();
    return true;
  }

  std::deque<Clock::time_point> due;  // when it was to ask: the first is being answered, the others wait
  uint64_t answers = 0;

 private:
  void MakeFrame(uint32_t client) {
    IoctlRequest request;
    request.set_command(testing::kIoctlRmControl);
    request.add_segments()->set_size_bytes(32);
    Segment* params = request.add_segments();
    params->set_size_bytes(4);
    params->set_pointer_offset(16);
    const std::string body = request.SerializeAsString();
    std::vector<uint8_t> nvos54(32);
    testing::WriteAt<uint32_t>(nvos54, 0, client);
    testing::WriteAt<uint32_t>(nvos54, 4, client);
    testing::WriteAt<uint32_t>(nvos54, 8, NV0000_CTRL_CMD_GPU_GET_MEMOP_ENABLE);
    testing::WriteAt<uint32_t>(nvos54, 24, 4);
    wire::FrameHeader header{};
    header.magic = wire::kFrameMagic;
    header.kind = wire::kFrameKindIoctl;
    header.body_size_bytes = static_cast<uint16_t>(body.size());
    header.payload_size_bytes = 40;
    header.file_id = guest_.file.file_id;
    frame_.resize(sizeof(header));
    std::memcpy(frame_.data(), &header, sizeof(header));
    frame_.insert(frame_.end(), body.begin(), body.end());
    frame_.resize(wire::AlignUp8(static_cast<uint32_t>(frame_.size())));
    frame_.insert(frame_.end(), nvos54.begin(), nvos54.end());
    frame_.resize(frame_.size() + 8);
  }

  Guest guest_;
  wire::RingProducer requests_;
  wire::RingConsumer responses_;
  std::vector<uint8_t> frame_;
};

// (sum x)^2 / (n sum x^2): 1 when all have had the same, 1/n when one has had all.
double JainsFairness(const std::vector<std::unique_ptr<Asker>>& askers, size_t active) {
  double sum = 0, squares = 0;
  for (size_t i = 0; i < active; ++i) {
    const double x = static_cast<double>(askers[i]->answers);
    sum += x;
    squares += x * x;
  }
  return sum * sum / (static_cast<double>(active) * squares);
}

struct Plan {
  size_t active;
  double seconds;
  double calls_per_second;  // 0: hot
};

// Microseconds of every call, counted from when it was to be made.
std::vector<double> Drive(std::vector<std::unique_ptr<Asker>>& askers, const Plan& plan) {
  std::vector<double> microseconds;
  std::vector<size_t> waiting;  // for an answer
  const auto start = Clock::now();
  const auto end =
      start + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(plan.seconds));
  uint64_t asked = 0;
  const auto ask = [&](size_t i, Clock::time_point due) {
    askers[i]->due.push_back(due);
    if (askers[i]->due.size() > 1) return;
    askers[i]->Ask();
    waiting.push_back(i);
  };
  for (size_t i = 0; i < plan.active; ++i) askers[i]->answers = 0;
  if (plan.calls_per_second == 0)
    for (size_t i = 0; i < plan.active; ++i) ask(i, Clock::now());
  for (auto now = start; now < end || !waiting.empty(); now = Clock::now()) {
    while (plan.calls_per_second != 0 && now < end) {
      const auto due = start + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(
                                   static_cast<double>(asked) / plan.calls_per_second));
      if (due > now) break;
      ask(asked++ % plan.active, due);
    }
    for (size_t at = 0; at < waiting.size();) {
      Asker& asker = *askers[waiting[at]];
      if (!asker.TakeAnswer()) {
        ++at;
        continue;
      }
      microseconds.push_back(MicrosecondsSince(asker.due.front()));
      asker.due.pop_front();
      ++asker.answers;
      if (plan.calls_per_second == 0 && now < end) asker.due.push_back(Clock::now());
      if (!asker.due.empty()) {
        asker.Ask();
        ++at;
      } else {
        waiting[at] = waiting.back();
        waiting.pop_back();
      }
    }
  }
  return microseconds;
}

void Load(const std::string& folder, int count) {
  std::vector<std::unique_ptr<Asker>> askers;
  for (int i = 0; i < count; ++i) askers.push_back(std::make_unique<Asker>(SocketOf(folder, i)));
  std::printf("ready\n");
  std::fflush(stdout);
  char how[16];
  Plan plan{};
  while (std::scanf("%15s %zu %lf", how, &plan.active, &plan.seconds) == 3) {
    plan.calls_per_second = 0;
    if (std::strcmp(how, "rate") == 0 && std::scanf("%lf", &plan.calls_per_second) != 1) return;
    const auto microseconds = Drive(askers, plan);
    std::printf("{\"calls_per_second\":%.1f,\"p50\":%.3f,\"p99\":%.3f,\"fairness\":%.5f}\n",
                static_cast<double>(microseconds.size()) / plan.seconds, Percentile(microseconds, 50),
                Percentile(microseconds, 99), JainsFairness(askers, plan.active));
    std::fflush(stdout);
  }
}

void RaiseFileLimit() {
  rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace
}  // namespace nvshim::bench

int main(int argc, char** argv) {
  using namespace nvshim::bench;
  const std::string part = argc > 2 ? argv[1] : "";
  RaiseFileLimit();
  unsetenv("LD_PRELOAD");  // what it starts is no guest
  if (part == "attach" && argc == 4) {
    MeasureAttach(argv[2], std::atoi(argv[3]));
  } else if (part == "teardown" && argc == 3) {
    MeasureTeardown(argv[2]);
  } else if (part == "load" && argc == 4) {
    Load(argv[2], std::atoi(argv[3]));
  } else {
    std::fprintf(stderr, "usage: guest_bench attach FOLDER COUNT | teardown FOLDER | load FOLDER COUNT\n");
    return 2;
  }
  return 0;
}
