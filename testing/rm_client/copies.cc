// A channel from its address space to its end. One piece of system memory holds all that it needs: USERD, the
// ring, the methods, what is copied, and the semaphore that says that it is done.
#include <sched.h>
#include <sys/mman.h>

#include <algorithm>
#include <optional>

#include "testing/rm_client/laws.h"
#include "testing/rm_client/mapping.h"

namespace nvshim::rm_client {
namespace {

using victim::Law;

constexpr uint32_t kSpace = 0x5c000030, kMemory = 0x5c000031, kGroup = 0x5c000032, kChannel = 0x5c000033,
                   kCopier = 0x5c000034, kUserMode = 0x5c000035, kVirtual = 0x5c000036;
constexpr uint64_t kBase = 0x2'0040'0000, kSize = 1 << 20;
constexpr uint64_t kRange = 0x6'0000'0000, kRangeSize = 16 * kSize;  // of kVirtual
// In the memory.
constexpr uint64_t kUserd = 0x400, kRing = 0x1000, kMethods = 0x2000, kSource = 0x10000, kTarget = 0x20000,
                   kSemaphore = 0x30000;
constexpr uint32_t kRingEntries = 8, kCopyBytes = 5000;
constexpr uint32_t kGpPut = 0x8c;             // Nvc56fControl.GPPut (clc56f.h) and its successors
constexpr uint64_t kDoorbellBytes = 0x10000;  // NVC361_NV_USERMODE__SIZE
constexpr uint32_t kDoorbell = 0x90;          // NVC361_NOTIFY_CHANNEL_PENDING
constexpr uint32_t kSubchannel = 4;           // where libcuda has its copy engine
constexpr size_t kGpuAttributesBytes = 36;    // UvmGpuMappingAttributes

// The newest class of a kind, told by the low byte of its number, that both the GPU and the version have.
uint32_t NewestClass(const Session& session, uint32_t low_byte) {
  uint32_t newest = 0;
  for (const uint32_t number : ClassList(session))
    if ((number & 0xff) == low_byte && session.dialect().FindClass(number) != nullptr)
      newest = std::max(newest, number);
  Law(newest != 0, "there is no class 0x..%02x", low_byte);
  return newest;
}

// A UVM file that maps kMemory at kBase for the GPU.
class GpuSpace {
 public:
  explicit GpuSpace(const Session& session)
      : session_(session), uuid_(Uuid(session)), uvm_(victim::Open("/dev/nvidia-uvm")) {
    Params space(session.dialect(), "NV_VASPACE_ALLOCATION_PARAMETERS");
    session.Alloc(kDevice, kSpace, "FERMI_VASPACE_A", &space);
    Params initialize = Make("UVM_INITIALIZE");
    Run("UVM_INITIALIZE", initialize);
    Params gpu = Make("UVM_REGISTER_GPU");
    Run("UVM_REGISTER_GPU", WithUuid(gpu, "gpu_uuid").Set("rmCtrlFd", -1));
    Params vaspace = Make("UVM_REGISTER_GPU_VASPACE");
    WithUuid(vaspace, "gpuUuid").Set("rmCtrlFd", session.ctl()).Set("hClient", session.client());
    Run("UVM_REGISTER_GPU_VASPACE", vaspace.Set("hVaSpace", kSpace));
    Params range = Make("UVM_CREATE_EXTERNAL_RANGE");
    Run("UVM_CREATE_EXTERNAL_RANGE", range.Set("base", kBase).Set("length", kSize));
    Params map = Make("UVM_MAP_EXTERNAL_ALLOCATION");
    WithUuid(map, "perGpuAttributes")
        .Set("base", kBase)
        .Set("length", kSize)
        .Set("gpuAttributesCount", uint64_t{1});
    map.Set("rmCtrlFd", session.ctl()).Set("hClient", session.client()).Set("hMemory", kMemory);
    Law(map.OffsetOf("gpuAttributesCount") % kGpuAttributesBytes == 24 % kGpuAttributesBytes,
        "attributes of a GPU are not %zu bytes", kGpuAttributesBytes);
    Run("UVM_MAP_EXTERNAL_ALLOCATION", map);
  }
  ~GpuSpace() {
    Params free = Make("UVM_FREE");
    free.Set("base", kBase);
    if (free.Has("length")) free.Set("length", kSize);
    Run("UVM_FREE", free);
    Params vaspace = Make("UVM_UNREGISTER_GPU_VASPACE"), gpu = Make("UVM_UNREGISTER_GPU");
    Run("UVM_UNREGISTER_GPU_VASPACE", WithUuid(vaspace, "gpuUuid"));
    Run("UVM_UNREGISTER_GPU", WithUuid(gpu, "gpu_uuid"));
    close(uvm_);
    session_.Free(kSpace);
  }
  GpuSpace(const GpuSpace&) = delete;
  GpuSpace& operator=(const GpuSpace&) = delete;

 private:
  Params Make(const char* call) const { return Params(session_.dialect(), std::string(call) + "_PARAMS"); }
  Params& WithUuid(Params& params, const char* field) const {
    for (uint32_t i = 0; i < uuid_.size(); ++i) params.Set(field, uuid_[i], i);
    return params;
  }
  void Run(const char* call, Params& params) const {
    const uint32_t status = session_.Uvm(uvm_, call, params);
    Law(status == 0, "%s: status 0x%x", call, status);
  }

  const Session& session_;
  const std::vector<uint8_t> uuid_;
  const int uvm_;
};

// A channel on a copy engine, in a group of its own.
class Channel {
 public:
  Channel(const Session& session, uint8_t* memory)
      : session_(session), memory_(memory), copy_class_(NewestClass(session, 0xb5)) {
    Params group(session.dialect(), "NV_CHANNEL_GROUP_ALLOCATION_PARAMETERS");
    session.Alloc(kDevice, kGroup, "KEPLER_CHANNEL_GROUP_A", &group.Set("hVASpace", kSpace));
    Params channel(session.dialect(), "NV_CHANNEL_ALLOC_PARAMS");
    channel.Set("hObjectError", kMemory)
        .Set("gpFifoOffset", kBase + kRing)
        .Set("gpFifoEntries", kRingEntries)
        .Set("hUserdMemory", kMemory)
        .Set("userdOffset", kUserd);
    session.Alloc(kGroup, kChannel, NewestClass(session, 0x6f), &channel);
    session.Alloc(kChannel, kCopier, copy_class_);
    Params schedule(session.dialect(), "NVA06C_CTRL_GPFIFO_SCHEDULE_PARAMS");
    session.Control(kGroup, "NVA06C_CTRL_CMD_GPFIFO_SCHEDULE", schedule.Set("bEnable", uint8_t{1}));
    Params token(session.dialect(), "NVC36F_CTRL_CMD_GPFIFO_GET_WORK_SUBMIT_TOKEN_PARAMS");
    session.Control(kChannel, "NVC36F_CTRL_CMD_GPFIFO_GET_WORK_SUBMIT_TOKEN", token);
    token_ = token.Get("workSubmitToken");
    session.Alloc(kSubdevice, kUserMode, NewestClass(session, 0x61));
    doorbell_.emplace(session, kUserMode, victim::kGpu0, kDoorbellBytes, PROT_WRITE);
  }
  ~Channel() {
    doorbell_.reset();
    for (const uint32_t object : {kUserMode, kCopier, kChannel, kGroup}) session_.Free(object);
  }
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  // Copies and waits; `ticket` is what the semaphore says then, another one each time.
  void Copy(uint64_t from, uint64_t to, uint32_t ticket) {
    const auto high = [](uint64_t address) { return static_cast<uint32_t>(address >> 32); };
    const auto low = [](uint64_t address) { return static_cast<uint32_t>(address); };
    const uint32_t methods[] = {
        Header(0, 1),
        copy_class_,  // SET_OBJECT
        Header(0x400, 4),
        high(from),
        low(from),
        high(to),
        low(to),  // OFFSET_IN, OFFSET_OUT
        Header(0x418, 2),
        kCopyBytes,
        1,  // LINE_LENGTH_IN, LINE_COUNT
        Header(0x240, 3),
        high(kBase + kSemaphore),
        low(kBase + kSemaphore),
        ticket,  // SET_SEMAPHORE_*
        Header(0x300, 1),
        0x18a,  // LAUNCH_DMA
    };
    std::memcpy(memory_ + kMethods, methods, sizeof(methods));
    const uint64_t entry = (kBase + kMethods) | uint64_t{std::size(methods)} << 42;
    std::memcpy(memory_ + kRing + 8 * put_, &entry, sizeof(entry));
    put_ = (put_ + 1) % kRingEntries;
    __atomic_store_n(reinterpret_cast<uint32_t*>(memory_ + kUserd + kGpPut), put_, __ATOMIC_RELEASE);
    __atomic_store_n(reinterpret_cast<uint32_t*>(doorbell_->bytes() + kDoorbell), token_, __ATOMIC_RELEASE);
    // A channel that does nothing is a hang, which NeverHang ends.
    while (__atomic_load_n(reinterpret_cast<uint32_t*>(memory_ + kSemaphore), __ATOMIC_ACQUIRE) != ticket)
      sched_yield();
  }

 private:
  static uint32_t Header(uint32_t method, uint32_t count) {
    return 1u << 29 | count << 16 | kSubchannel << 13 | method / 4;
  }

  const Session& session_;
  uint8_t* const memory_;
  const uint32_t copy_class_;
  uint32_t token_ = 0, put_ = 0;
  std::optional<Mapping> doorbell_;
};

// Whether NV_ESC_RM_UNMAP_MEMORY_DMA takes a length differs from version to version; 0 and the whole are the
// same.
uint32_t UnmapDma(const Session& session, uint64_t address, uint64_t length) {
  Params unmap(session.dialect(), "NVOS47_PARAMETERS");
  unmap.Set("hClient", session.client())
      .Set("hDevice", kDevice)
      .Set("hDma", kVirtual)
      .Set("dmaOffset", address);
  if (unmap.Has("size")) unmap.Set("size", length);
  return session.Escape(session.ctl(), "NV_ESC_RM_UNMAP_MEMORY_DMA", unmap);
}

// Maps `memory` a second time, where RM likes in the range of kVirtual.
uint32_t TryMapDma(const Session& session, uint32_t memory, uint64_t* address) {
  Params map(session.dialect(), "NVOS46_PARAMETERS");
  map.Set("hClient", session.client()).Set("hDevice", kDevice).Set("hDma", kVirtual).Set("hMemory", memory);
  const uint32_t status = session.Escape(session.ctl(), "NV_ESC_RM_MAP_MEMORY_DMA", map.Set("length", kSize));
  *address = map.Get<uint64_t>("dmaOffset");
  return status;
}

uint64_t MapDma(const Session& session) {
  Params range(session.dialect(), "NV_MEMORY_VIRTUAL_ALLOCATION_PARAMS");
  range.Set("offset", kRange).Set("limit", kRange + kRangeSize - 1).Set("hVASpace", kSpace);
  session.Alloc(kDevice, kVirtual, "NV01_MEMORY_VIRTUAL", &range);
  uint64_t address = 0;
  Law(TryMapDma(session, kNothing, &address) != 0, "RM maps memory that is not there");
  const uint32_t status = TryMapDma(session, kMemory, &address);
  Law(status == 0, "NV_ESC_RM_MAP_MEMORY_DMA: status 0x%x", status);
  Law(address >= kRange && address - kRange <= kRangeSize - kSize, "RM maps memory at 0x%llx",
      static_cast<unsigned long long>(address));
  return address;
}

void CheckTarget(const uint8_t* memory, uint8_t seed, const char* what) {
  for (uint32_t i = 0; i < kCopyBytes; ++i)
    Law(memory[kTarget + i] == static_cast<uint8_t>(i * 13 + seed), "%s: byte %u differs", what, i);
  Law(memory[kTarget + kCopyBytes] == 0, "%s: more was copied than asked for", what);
}

}  // namespace

void CheckCopies(const Session& session) {
  AllocHeap(session, kMemory, kSystemMemory, kSize);
  {
    Mapping mapping(session, kMemory, victim::kCtl, kSize, PROT_READ | PROT_WRITE);
    uint8_t* const memory = mapping.bytes();
    const auto fill = [memory](uint8_t seed) {
      for (uint32_t i = 0; i < kCopyBytes; ++i) memory[kSource + i] = static_cast<uint8_t>(i * 13 + seed);
    };
    const GpuSpace space(session);
    Channel channel(session, memory);
    fill(1);
    channel.Copy(kBase + kSource, kBase + kTarget, 1);
    CheckTarget(memory, 1, "a copy between addresses of UVM");

    const uint64_t address = MapDma(session);
    fill(2);
    channel.Copy(address + kSource, kBase + kTarget, 2);
    CheckTarget(memory, 2, "a copy from an address of RM");
    Law(UnmapDma(session, address, kSize) == 0, "NV_ESC_RM_UNMAP_MEMORY_DMA is refused");
    Law(UnmapDma(session, address, 0) != 0, "what is unmapped can be unmapped again");
    session.Free(kVirtual);
  }
  session.Free(kMemory);
  Params gone(session.dialect(), "NVC36F_CTRL_CMD_GPFIFO_GET_WORK_SUBMIT_TOKEN_PARAMS");
  Law(session.TryControl(kChannel, "NVC36F_CTRL_CMD_GPFIFO_GET_WORK_SUBMIT_TOKEN", gone) == kNotFound,
      "a channel that was freed still answers");
}

}  // namespace nvshim::rm_client
