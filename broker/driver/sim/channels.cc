// How much a channel does in a turn, and what is said about one that stops.
#include "broker/driver/sim/channels.h"

#include <time.h>

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "broker/driver/sim/limits.h"

namespace nvshim::broker::sim {
namespace {

// What a channel does before the next one's turn, and all of them before the driver's lock is given up: short
// enough that ioctls hardly notice, long enough that the lock is cheap.
constexpr uint64_t kMethodsPerTurn = 4096, kMethodsPerRound = 8 * kMethodsPerTurn;
constexpr uint64_t kBytesPerTurn = 1 << 20, kBytesPerRound = 4 * kBytesPerTurn;

uint64_t RealTimeNs() {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

class SpaceHost final : public engine::Host {
 public:
  SpaceHost(AddressSpace& space, KernelLaunches& launches, const std::function<void(std::string_view)>& log)
      : space_(space), launches_(launches), log_(log) {}

  std::span<uint8_t> Resolve(uint64_t address, uint64_t length) override {
    return space_.Resolve(address, length);
  }
  uint64_t NowNs() override { return RealTimeNs(); }
  // Told at the end of the turn: however many a guest asks for, its listeners are gone through once.
  void Interrupt() override { interrupted_ = true; }
  bool interrupted() const { return interrupted_; }
  bool Launch(const engine::KernelLaunch& launch) override {
    launch_ =
        absl::StrCat("class 0x", absl::Hex(launch.class_number), ", program at 0x", absl::Hex(launch.program),
                     ", QMD version ", launch.qmd_version >> 4, ".", launch.qmd_version & 0xf);
    if (!launches_.skip) return false;
    if (launches_.skipped++ == 0 && log_)
      log_(absl::StrCat("kernels are launched and skipped, their results are missing; the first: ", launch_));
    return true;
  }
  // The last program launched, in words.
  const std::string& launch() const { return launch_; }

 private:
  AddressSpace& space_;
  KernelLaunches& launches_;
  const std::function<void(std::string_view)>& log_;
  std::string launch_;
  bool interrupted_ = false;
};

// Robust channel errors (nverror.h), as RM and the kernel log call them.
constexpr uint32_t ROBUST_CHANNEL_GR_EXCEPTION = 13, ROBUST_CHANNEL_FIFO_ERROR_MMU_ERR_FLT = 31,
                   ROBUST_CHANNEL_PBDMA_ERROR = 32;

uint32_t ErrorOf(engine::Fault fault) {
  switch (fault) {
    case engine::Fault::kBadAddress:
      return ROBUST_CHANNEL_FIFO_ERROR_MMU_ERR_FLT;
    case engine::Fault::kBadPushbuffer:
      return ROBUST_CHANNEL_PBDMA_ERROR;
    default:
      return ROBUST_CHANNEL_GR_EXCEPTION;
  }
}

// The first NvNotification of a channel's error notifier: what a client looks at when its work does not end.
void NotifyError(std::span<uint8_t> notifier, engine::Fault fault) {
  constexpr size_t kNotificationBytes = 16;
  if (notifier.size() < kNotificationBytes) return;
  const uint64_t time_ns = RealTimeNs();
  const uint32_t info32 = ErrorOf(fault);
  std::memcpy(notifier.data(), &time_ns, sizeof(time_ns));
  std::memcpy(notifier.data() + 8, &info32, sizeof(info32));
  // info16 0: the graphics engine; status 0xffff last, for it is what says that the rest is there.
  __atomic_store_n(reinterpret_cast<uint32_t*>(notifier.data() + 12), 0xffff0000u, __ATOMIC_RELEASE);
}

}  // namespace

bool Channels::Add(const std::shared_ptr<SimChannel>& channel) {
  Prune();
  if (channels_.size() >= kChannelsMax) return false;
  channels_.push_back(channel);
  ++made_;
  return true;
}

void Channels::Prune() {
  std::erase_if(channels_, [](const std::weak_ptr<SimChannel>& channel) { return channel.expired(); });
}

Channels::Round Channels::RunOnce(BackingCount& backings) {
  Prune();
  bool progress = false, waiting = false;
  engine::Budget left{kMethodsPerRound, kBytesPerRound};
  for (size_t turns = channels_.size(); turns != 0 && left.methods != 0 && left.bytes != 0; --turns) {
    next_ = (next_ + 1) % channels_.size();
    const std::shared_ptr<SimChannel> channel = channels_[next_].lock();
    if (channel == nullptr || channel->stopped) continue;
    const std::span<uint8_t> userd = channel->userd->Bytes(backings);
    if (userd.empty()) continue;
    SpaceHost host(*channel->space, launches, log_);
    const engine::Budget given{std::min(kMethodsPerTurn, left.methods), std::min(kBytesPerTurn, left.bytes)};
    engine::Budget budget = given;
    const auto state =
        channel->engine.Turn(host, userd.subspan(channel->userd_offset, engine::kUserdBytes), &budget);
    if (host.interrupted()) channel->events->Interrupt(channel->gpu, channel->interrupt, signals_);
    left.methods -= given.methods - budget.methods;
    left.bytes -= given.bytes - budget.bytes;
    progress |= channel->engine.TakeProgress() || state == engine::Channel::State::kMore;
    waiting |= state == engine::Channel::State::kStalled;
    if (state == engine::Channel::State::kFaulted) Stop(*channel, host.launch(), backings);
  }
  return progress ? Round::kProgress : waiting ? Round::kWaiting : Round::kIdle;
}

// As RM does it: a fault ends the whole group, and each of its channels is told the reason.
void Channels::Stop(SimChannel& faulted, std::string_view launch, BackingCount& backings) {
  const engine::Channel& engine = faulted.engine;
  for (const std::weak_ptr<SimChannel>& weak : channels_) {
    const std::shared_ptr<SimChannel> channel = weak.lock();
    if (channel == nullptr || channel->stopped) continue;
    if (channel.get() != &faulted && (faulted.group == 0 || channel->group != faulted.group)) continue;
    channel->stopped = true;
    if (channel->notifier != nullptr) NotifyError(channel->notifier->Bytes(backings), engine.fault());
    channel->events->SignalAll(signals_);
  }
  if (!log_ || ++faults_told_ > kFaultsToldMax) return;
  std::string where;
  if (engine.fault() == engine::Fault::kShaderLaunch)
    where = launch;
  else
    where = absl::StrCat("class 0x", absl::Hex(engine.fault_class()), ", method 0x",
                         absl::Hex(engine.fault_method()), ", data 0x", absl::Hex(engine.fault_data()));
  log_(absl::StrCat("a channel stopped: ", engine::FaultText(engine.fault()), "; ", where));
}

}  // namespace nvshim::broker::sim
