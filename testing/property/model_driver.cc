#include "testing/property/model_driver.h"

#include <algorithm>
#include <set>

namespace nvshim::broker {
namespace {

constexpr uint32_t kInvalidClient = 0x23, kDuplicate = 0x19, kNotFound = 0x57;

// Escapes by number.
constexpr uint32_t kAllocMemory = 0x27, kFree = 0x29, kAlloc = 0x2b, kDup = 0x34, kVidHeap = 0x4a;
constexpr uint32_t kHeapAlloc = 2, kHeapFree = 3, kVirtualFlag = 0x80000, kLocalUser = 0x40;
constexpr uint64_t kPageBytes = 4096;

bool IsUvm(DeviceNode node) {
  return node.device_class == DeviceClass::kUvm || node.device_class == DeviceClass::kUvmTools;
}

uint32_t U32(const DriverCall& call, uint32_t offset) { return Get<uint32_t>(call.Bytes(0), offset); }

// What a driver may do to the bytes behind pointers, if it made no sense: only a size that it is to give back
// rounded stays.
void Scribble(const abi::Spec& spec, DriverCall& call) {
  const bool keeps_size = spec.number == kAlloc && U32(call, 12) == kLocalUser;
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
  clients_[number] = {files_.at(file).guest, file, {}, {}};
  Put<uint32_t>(call.Bytes(0), 8, number);
  return 0;
}

// The three ways to allocate: class 0x40 of RM_ALLOC and of ALLOC_MEMORY, and the heap unless its flags say
// virtual or its attributes another place.
uint64_t ModelDriver::MemoryAskedBytes(const DriverCall& call) {
  if (abi::IocType(call.command) != abi::kEscapeType) return 0;
  const uint32_t number = abi::IocNumber(call.command), params = call.Child(0, 16);
  if (number == kAlloc && U32(call, 12) == kLocalUser) return Get<uint64_t>(call.Bytes(params), 64);
  if (number == kAllocMemory && U32(call, 12) == kLocalUser) return Get<uint64_t>(call.Bytes(0), 32) + 1;
  if (number != kVidHeap || U32(call, 8) != kHeapAlloc) return 0;
  const bool video = (U32(call, 52) & kVirtualFlag) == 0 && (U32(call, 56) >> 25 & 3) == 0;
  return video ? Get<uint64_t>(call.Bytes(0), 88) : 0;
}

// What the object that the call makes has: new memory, in whole pages, or that of the original.
std::shared_ptr<uint64_t> ModelDriver::MemoryFor(const DriverCall& call) const {
  if (abi::IocNumber(call.command) == kDup) {
    const auto source = clients_.find(U32(call, 12));
    if (source == clients_.end()) return nullptr;
    const auto memory = source->second.memory.find(U32(call, 16));
    return memory == source->second.memory.end() ? nullptr : memory->second;
  }
  const uint64_t asked_bytes = MemoryAskedBytes(call);
  if (asked_bytes == 0) return nullptr;
  return std::make_shared<uint64_t>((asked_bytes + kPageBytes - 1) / kPageBytes * kPageBytes);
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
  if (const auto memory = MemoryFor(call)) {
    it->second.memory[number] = memory;
    if (abi::IocNumber(call.command) == kAlloc) Put<uint64_t>(call.Bytes(call.Child(0, 16)), 64, *memory);
    if (abi::IocNumber(call.command) == kAllocMemory) Put<uint64_t>(call.Bytes(0), 32, *memory - 1);
    if (abi::IocNumber(call.command) == kVidHeap) Put<uint64_t>(call.Bytes(0), 88, *memory);
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
  for (;;) {
    uint32_t child = 0;
    for (const auto& [number, parent] : client.parents)
      if (parent == object) child = number;
    if (child == 0) return;
    FreeTree(client, child);
  }
}

size_t ModelDriver::clients(GuestId guest) const {
  size_t count = 0;
  for (const auto& [number, client] : clients_) count += client.guest == guest;
  return count;
}

size_t ModelDriver::objects(GuestId guest) const {
  size_t count = 0;
  for (const auto& [number, client] : clients_)
    if (client.guest == guest) count += client.parents.size();
  return count;
}

uint64_t ModelDriver::memory_bytes(GuestId guest) const {
  std::set<const uint64_t*> seen;
  uint64_t sum = 0;
  for (const auto& [number, client] : clients_)
    for (const auto& [object, memory] : client.memory)
      if (client.guest == guest && seen.insert(memory.get()).second) sum += *memory;
  return sum;
}

}  // namespace nvshim::broker
