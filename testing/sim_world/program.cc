#include "testing/sim_world/program.h"

#include <algorithm>
#include <utility>

#include "proto/abi/spec.h"
#include "proto/wire/frame.h"

namespace nvshim::testing {

using namespace nvshim::broker;  // the subject
using namespace nvshim::testing::program;

namespace {

constexpr uint32_t kProbedIds = 0x214, kProbedIdsBytes = 256;  // NV0000_CTRL_CMD_GPU_GET_PROBED_IDS
constexpr uint32_t kNoId = 0xffffffff;
constexpr uint32_t kDeviceParamsBytes = 56, kMemoryParamsBytes = 120, kMemorySizeOffset = 64;

// A few of them fill the smallest quota.
constexpr uint32_t kMemoryBytesMax = 1 << 20;
constexpr size_t kMemoriesMax = 6;

uint32_t AddSegment(DriverCall& call, uint32_t size_bytes, uint32_t pointer_offset) {
  call.segments.push_back({static_cast<uint32_t>(call.buffer.size()), size_bytes, 0, pointer_offset});
  call.buffer.resize(call.buffer.size() + wire::AlignUp8(size_bytes));
  return static_cast<uint32_t>(call.segments.size()) - 1;
}

DriverCall Escape(uint32_t number, uint32_t size_bytes, std::initializer_list<uint32_t> words) {
  DriverCall call;
  call.command = abi::EscapeCommand(number, size_bytes);
  AddSegment(call, size_bytes, 0);
  size_t at = 0;
  for (uint32_t word : words) Put<uint32_t>(call.Bytes(0), 4 * at++, word);
  return call;
}

uint32_t StatusOffsetOf(uint32_t number) {
  return number == kFree        ? abi::nvos00::kStatus
         : number == kMapMemory ? abi::nvos33::kStatus
                                : abi::nvos21::kStatus;  // as that of NVOS54
}

}  // namespace

Program::Doing Program::Choose(Random& random) const {
  if (ctl_ == FileId::kNone) return Doing::kOpenCtl;
  if (client_ == 0) return Doing::kMakeClient;
  if (!device_) return Doing::kMakeDevice;
  if (gpu_ == FileId::kNone) return Doing::kOpenGpu;
  if (!registered_) return Doing::kRegister;
  const uint32_t kind = random.Below(16);
  if (kind == 0) return Doing::kFreeClient;
  if (kind < 7 && memories_.size() < kMemoriesMax) return Doing::kMakeMemory;
  if (kind < 9 || memories_.empty()) return Doing::kAsk;
  return kind < 12 ? Doing::kMap : Doing::kFreeMemory;
}

DriverCall Program::Make(Random& random) {
  if (!memories_.empty()) about_ = memories_[random.Below(static_cast<uint32_t>(memories_.size()))];
  DriverCall call;
  switch (doing_) {
    case Doing::kOpenCtl:
    case Doing::kOpenGpu:
      break;
    case Doing::kRegister:
      return Escape(kRegisterFd, 4, {0});
    case Doing::kMakeClient:
      return Escape(kAlloc, abi::nvos21::kSize, {0, 0, 0, kClientClass});
    case Doing::kMakeDevice:
      call = Escape(kAlloc, abi::nvos21::kSize, {client_, client_, kDevice, kDeviceClass});
      AddSegment(call, kDeviceParamsBytes, abi::nvos21::kAllocParms);
      return call;
    case Doing::kMakeMemory: {
      about_ = ++last_memory_;
      call = Escape(kAlloc, abi::nvos21::kSize, {client_, kDevice, about_, kMemoryClass});
      const uint32_t params = AddSegment(call, kMemoryParamsBytes, abi::nvos21::kAllocParms);
      Put<uint64_t>(call.Bytes(params), kMemorySizeOffset, 1 + random.Below(kMemoryBytesMax));
      return call;
    }
    case Doing::kMap:
      call = Escape(kMapMemory, 56, {client_, kDevice, about_});
      Put<uint64_t>(call.Bytes(0), 24, 1);  // length
      return call;
    case Doing::kAsk: {
      call = Escape(kControl, abi::nvos54::kSize, {client_, client_, kProbedIds, 0, 0, 0, kProbedIdsBytes});
      AddSegment(call, kProbedIdsBytes, abi::nvos54::kParams);
      return call;
    }
    case Doing::kFreeMemory:
      return Escape(kFree, abi::nvos00::kSize, {client_, kDevice, about_});
    case Doing::kFreeClient:
      return Escape(kFree, abi::nvos00::kSize, {client_, 0, client_});
  }
  return call;
}

bool Program::Next(Random& random, Call* call) {
  if (ctl_ != FileId::kNone && random.OneIn(64)) {
    Forget();
    return false;
  }
  doing_ = Choose(random);
  *call = {};
  call->opens = doing_ == Doing::kOpenCtl || doing_ == Doing::kOpenGpu;
  const bool on_gpu = doing_ == Doing::kOpenGpu || doing_ == Doing::kRegister;
  call->device_class = on_gpu ? DeviceClass::kGpu : DeviceClass::kCtl;
  call->file = on_gpu ? gpu_ : ctl_;
  call->call = Make(random);
  if (doing_ == Doing::kRegister) call->files.push_back({0, 0, static_cast<uint32_t>(ctl_)});
  if (doing_ == Doing::kMap) call->files.push_back({0, abi::nvos33::kFd, static_cast<uint32_t>(gpu_)});
  return true;
}

std::string Program::Take(const Answer& answer, bool failed, bool over_quota) {
  const uint32_t number = abi::IocNumber(answer.call.command);
  const bool has_status = answer.with_segments && number != kRegisterFd;
  const uint32_t status = has_status ? Get<uint32_t>(answer.call.Bytes(0), StatusOffsetOf(number)) : 0;
  if (doing_ == Doing::kMakeMemory && over_quota) {
    if (answer.error == 0 && status == kNoMemory) return "";
    return "memory beyond the quota, and no word of it";
  }
  if (answer.error != 0 || status != 0) {
    Forget();
    if (failed) return "";
    return "an honest call (" + std::to_string(static_cast<int>(doing_)) + ") failed: errno " +
           std::to_string(answer.error) + ", status " + std::to_string(status);
  }
  switch (doing_) {
    case Doing::kOpenCtl:
      ctl_ = answer.file;
      break;
    case Doing::kOpenGpu:
      gpu_ = answer.file;
      break;
    case Doing::kRegister:
      registered_ = true;
      break;
    case Doing::kMakeClient:
      client_ = Get<uint32_t>(answer.call.Bytes(0), abi::nvos21::kObjectNew);
      break;
    case Doing::kMakeDevice:
      device_ = true;
      break;
    case Doing::kMakeMemory:
      memories_.push_back(about_);
      break;
    case Doing::kMap:
      return answer.with_fd || failed ? "" : "a mapping without its file";
    case Doing::kAsk:
      return Get<uint32_t>(answer.call.Bytes(1), 4) == kNoId ? "" : "more GPUs than there are";
    case Doing::kFreeMemory:
      std::erase(memories_, about_);
      break;
    case Doing::kFreeClient:
      client_ = 0;
      device_ = false;
      memories_.clear();
      break;
  }
  return "";
}

void Program::Forget() {
  for (FileId file : {ctl_, gpu_})
    if (file != FileId::kNone) closed_.push_back(file);
  ctl_ = gpu_ = FileId::kNone;
  registered_ = device_ = false;
  client_ = 0;
  memories_.clear();
}

std::vector<FileId> Program::TakeClosed() { return std::exchange(closed_, {}); }

}  // namespace nvshim::testing
