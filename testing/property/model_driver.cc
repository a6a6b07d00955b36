#include "testing/property/model_driver.h"

#include <algorithm>
#include <set>

namespace nvshim::broker {
namespace {

constexpr uint32_t kInvalidClient = 0x23, kDuplicate = 0x19, kNotFound = 0x57;

// Escapes by number.
constexpr uint32_t kAllocMemory = 0x27, kFree = 0x29, kAlloc = 0x2b, kDup = 0x34, kVidHeap = 0x4a;
constexpr uint32_t kHeapAlloc = 2, kHeapFree = 3, kVirtualFlag = 0x80000, kLocalUser = 0x40, kSystem = 0x3e;
constexpr uint64_t kPageBytes = 4096;

bool IsUvm(DeviceNode node) {
  return node.device_class == DeviceClass::kUvm || node.device_class == DeviceClass::kUvmTools;
}

uint32_t U32(const DriverCall& call, uint32_t offset) { return Get<uint32_t>(call.Bytes(0), offset); }

// What a driver may do to the bytes behind pointers, if it made no sense: only a size that it is to give back
// rounded stays.
void Scribble(const abi::Spec& spec, DriverCall& call) {
  const bool keeps_size = spec.number == kAlloc && (U32(call, 12) == kLocalUser || U32(call, 12) == kSystem);
  for (uint32_t i = 1; i < call.segments.size() && !keeps_size; ++i)
    std::fill(call.Bytes(i).begin(), call.Bytes(i).end(), 0xab);
}

}  // namespace

DriverFileId ModelDriver::Open(GuestId guest, DeviceNode node) {
  files_[++last_file_] = {guest, node};
  return last_file_;
}

bool ModelDriver::Close(DriverFileId file) {
  std::erase_if(clients_, [&](const auto& one) { return one.second.file == file; });
  return files_.erase(file) == 1;
}

bool ModelDriver::Owns(GuestId guest, DriverFileId file) const {
  const auto it = files_.find(file);
  return it != files_.end() && it->second.guest == guest;
}

std::string ModelDriver::Foreign(GuestId guest, DriverFileId file, const DriverCall& call) const {
  if (!Owns(guest, file)) return "a call on a file that is not this guest's";
  for (const CallFile& named : call.files)
    if (!Owns(guest, named.file)) return "an fd field with a file that is not this guest's";
  return laws_.WrongAtDriver(files_.at(file).node.device_class, call, [&](uint32_t handle) {
    const auto it = clients_.find(handle);
    return it != clients_.end() && it->second.guest == guest;
  });
}

void ModelDriver::Execute(DriverFileId file, DriverCall& call, uint32_t status_wanted) {
  const DeviceNode node = files_.at(file).node;
  const abi::Spec* spec = laws_.SpecOf(node.device_class, call);
  if (spec == nullptr || spec->status_offset == abi::kNone) return;
  uint32_t status = status_wanted;
  Scribble(*spec, call);
  if (status == 0 && !IsUvm(node)) {
    const bool is_client =
        spec->number == kAlloc && (U32(call, 12) == 0 || U32(call, 12) == 1 || U32(call, 12) == 0x41);
    if (is_client) {
      status = MakeClient(file, call);
    } else if (spec->number == kAlloc || spec->number == kDup || spec->number == kAllocMemory) {
      status = MakeObject(call, 8);
    } else if (spec->number == kVidHeap && U32(call, 8) == kHeapAlloc) {
      status = MakeObject(call, 44);
    } else if (spec->number == kVidHeap && U32(call, 8) == kHeapFree) {
      status = Free(U32(call, 0), U32(call, 44));
    } else if (spec->number == kFree) {
      status = Free(U32(call, 0), U32(call, 8));
    }
  }
  Put<uint32_t>(call.Bytes(0), spec->status_offset, status);
}

uint32_t ModelDriver::MakeClient(DriverFileId file, DriverCall& call) {
  const uint32_t number = next_client_++;
  clients_[number] = {files_.at(file).guest, file, {}, {}, {}};
  Put<uint32_t>(call.Bytes(0), 8, number);
  return 0;
}

// Memory comes in three ways: as class 0x40 or 0x3e of RM_ALLOC and of ALLOC_MEMORY, and of the heap unless
// its flags say virtual.
Amounts ModelDriver::Asked(const DriverCall& call) {
  Amounts asked;
  if (call.segments.empty() || abi::IocType(call.command) != abi::kEscapeType) return asked;
  const uint32_t number = abi::IocNumber(call.command);
  const bool heap = number == kVidHeap && U32(call, 8) == kHeapAlloc;
  if (number != kAlloc && number != kDup && number != kAllocMemory && !heap) return asked;
  const uint32_t rm_class = heap ? (U32(call, 56) >> 25 & 3) == 0 ? kLocalUser : kSystem : U32(call, 12);
  if (number == kAlloc && (rm_class == 0 || rm_class == 1 || rm_class == 0x41)) {
    asked[Resource::kClients] = 1;
    return asked;
  }
  asked[Resource::kObjects] = 1;
  asked[Resource::kChannels] = number == kAlloc && (rm_class & 0xff) == 0x6f;
  if (number == kDup || (rm_class != kLocalUser && rm_class != kSystem)) return asked;
  if (heap && (U32(call, 52) & kVirtualFlag) != 0) return asked;
  asked[rm_class == kSystem ? Resource::kPinnedMemory : Resource::kVideoMemory] =
      heap                     ? Get<uint64_t>(call.Bytes(0), 88)
      : number == kAllocMemory ? Get<uint64_t>(call.Bytes(0), 32) + 1
                               : Get<uint64_t>(call.Bytes(call.Child(0, 16)), 64);
  return asked;
}

// What the object that the call makes has: new memory, in whole pages, or that of the original.
std::shared_ptr<ModelDriver::Memory> ModelDriver::MemoryFor(const DriverCall& call) const {
  if (abi::IocNumber(call.command) == kDup) {
    const auto source = clients_.find(U32(call, 12));
    if (source == clients_.end()) return nullptr;
    const auto memory = source->second.memory.find(U32(call, 16));
    return memory == source->second.memory.end() ? nullptr : memory->second;
  }
  const Amounts asked = Asked(call);
  for (Resource resource : {Resource::kVideoMemory, Resource::kPinnedMemory})
    if (asked[resource] != 0)
      return std::make_shared<Memory>(
          Memory{resource, (asked[resource] + kPageBytes - 1) / kPageBytes * kPageBytes});
  return nullptr;
}

uint32_t ModelDriver::MakeObject(DriverCall& call, uint32_t number_offset) {
  const auto it = clients_.find(U32(call, 0));
  if (it == clients_.end()) return kInvalidClient;
  auto& parents = it->second.parents;
  const uint32_t parent = U32(call, 4);
  if (parent != it->first && !parents.contains(parent)) return kNotFound;
  uint32_t number = U32(call, number_offset);
  if (number == 0) number = next_object_++;
  if (number == it->first || !parents.emplace(number, parent).second) return kDuplicate;
  Put<uint32_t>(call.Bytes(0), number_offset, number);
  if (Asked(call)[Resource::kChannels] != 0) it->second.channels.insert(number);
  if (const auto memory = MemoryFor(call)) {
    const uint64_t size_bytes = memory->size_bytes;
    it->second.memory[number] = memory;
    if (abi::IocNumber(call.command) == kAlloc) Put<uint64_t>(call.Bytes(call.Child(0, 16)), 64, size_bytes);
    if (abi::IocNumber(call.command) == kAllocMemory) Put<uint64_t>(call.Bytes(0), 32, size_bytes - 1);
    if (abi::IocNumber(call.command) == kVidHeap) Put<uint64_t>(call.Bytes(0), 88, size_bytes);
  }
  return 0;
}

uint32_t ModelDriver::Free(uint32_t client, uint32_t object) {
  const auto it = clients_.find(client);
  if (it == clients_.end()) return kInvalidClient;
  if (object == client)
    clients_.erase(it);
  else
    FreeTree(it->second, object);
  return 0;  // also when there was none
}

void ModelDriver::FreeTree(Client& client, uint32_t object) {
  if (client.parents.erase(object) == 0) return;
  client.memory.erase(object);
  client.channels.erase(object);
  for (;;) {
    uint32_t child = 0;
    for (const auto& [number, parent] : client.parents)
      if (parent == object) child = number;
    if (child == 0) return;
    FreeTree(client, child);
  }
}

Amounts ModelDriver::held(GuestId guest) const {
  Amounts held;
  std::set<const Memory*> seen;
  for (const auto& [number, client] : clients_) {
    if (client.guest != guest) continue;
    ++held[Resource::kClients];
    held[Resource::kObjects] += client.parents.size();
    held[Resource::kChannels] += client.channels.size();
    for (const auto& [object, memory] : client.memory)
      if (seen.insert(memory.get()).second) held[memory->resource] += memory->size_bytes;
  }
  return held;
}

}  // namespace nvshim::broker
