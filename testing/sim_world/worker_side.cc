// The worker's turns, and the driver behind it: the simulated one, made late, out of order and faulty.
#include <algorithm>
#include <cerrno>
#include <iterator>

#include "testing/sim_world/sim_world.h"

namespace nvshim::testing {

using namespace nvshim::broker;  // the subject
using namespace nvshim::testing::program;

namespace {

// One call in so many meets a fault, is late though it is none of those that may block, or loses the
// descriptor that it brings.
constexpr uint32_t kOneFaultIn = 40, kOneLateIn = 8, kOneLostIn = 60;
constexpr uint32_t kLatencyNs = 200'000;
constexpr uint32_t kNewsNs = 20'000;

// Statuses of a GPU in trouble: GPU_IS_LOST, INSUFFICIENT_RESOURCES, NO_MEMORY, TIMEOUT.
constexpr uint32_t kTroubles[] = {0x0f, 0x1a, 0x51, 0x65};

// Controls whose answer is the time, and where it stands: from there on all of it.
constexpr uint32_t kGetTime = 0x20800403, kTimeCorrelation = 0x20800406;

// What of a guest's flags may reach an open of the broker's: O_ACCMODE and O_NONBLOCK.
constexpr uint32_t kOpenFlags = 3 | 04000;

constexpr uint32_t kMemorySizeOffset = 64;  // of NV_MEMORY_ALLOCATION_PARAMS

// Of an honest program's call.
uint64_t MemoryAskedBytes(const DriverCall& call) {
  if (!abi::IsEscape(call.command, kAlloc) ||
      Get<uint32_t>(call.Bytes(0), abi::nvos21::kClass) != kMemoryClass)
    return 0;
  return Get<uint64_t>(call.Bytes(1), kMemorySizeOffset);
}

}  // namespace

// One frame of each lane that the process has spoken of, as in a turn of the worker's loop.
void SimWorld::TakeTurn(const ProcessKey& key) {
  if (Process* process = Find(key)) process->turn_is_due = false;
  ProcessPort* port = PortOf(key);
  if (port == nullptr) return;
  Tenant& tenant = tenants_[key.first];
  for (uint64_t pending = port->TakePending(); pending != 0; pending &= pending - 1) {
    const auto lane = static_cast<uint32_t>(__builtin_ctzll(pending));
    if (const auto asked = asked_.find({key, lane}); asked != asked_.end() && !asked->second.opens) {
      const uint64_t used_bytes = Statistics(key.first).memory_bytes;
      Thread* thread = ThreadOf({key.first, key.second, lane});
      if (thread != nullptr)
        thread->over_quota = used_bytes + MemoryAskedBytes(asked->second.call) > tenant.quota_bytes;
    }
    serving_ = true;
    ServeLane(*port, lane);
    serving_ = false;
  }
  if (!port->broken) return;
  ++tally_.broken;
  Expect(tenant.wild, "an honest guest is taken for one that breaks the protocol");
  Note("process " + std::to_string(static_cast<uint32_t>(key.second)) + " has broken the protocol");
  Drop(key);
  clock_.After(Soon(kNewsNs), [this, key] { Kill(key); });
}

void SimWorld::Fail(const CallToken& token) {
  ++tally_.faults;
  if (Thread* thread = ThreadOf(token)) thread->failed = true;
}

bool SimWorld::HandOver(const CallToken& token) {
  if (!random_.OneIn(kOneLostIn)) return true;
  Fail(token);
  return false;
}

// ---- The driver ----

void SimWorld::Carry(DriverOpen& open) {
  Expect((open.flags & ~kOpenFlags) == 0, "flags of the guest's choice for an open of the broker's");
  Expect(open.node.minor == 0, "a GPU that guests do not see");
  if (!random_.OneIn(kOneLateIn)) return FinishOpen(open);
  ++tally_.late;
  clock_.After(Soon(kLatencyNs), [this, open] {
    FinishOpen(open);
    LeaveIfEmpty(open.token.guest);
  });
}

void SimWorld::FinishOpen(const DriverOpen& open) {
  if (random_.OneIn(kOneFaultIn)) {
    Fail(open.token);
    return Step(DriverOpened{open.token, {EMFILE, 0}});
  }
  const OpenResult result = OpenDriverFile(open);
  if (result.error == 0) books_.Opened(result.file, open.node.device_class);
  last_opened_ = result.file;
  Step(DriverOpened{open.token, result});
}

// The process has or had a descriptor of the file, and its guest had not let go of it when it asked.
void SimWorld::ExpectHeld(const DriverIoctl& ioctl, DriverFileId file) {
  const auto placeholder = placeholder_of_.find(file);
  if (placeholder == placeholder_of_.end()) return;  // the fresh file of a mapping
  const OpenFile& open = files_[placeholder->second];
  Expect(open.ever_held.contains(ioctl.token.process), "a file that another process has");
  Expect(!serving_ || !open.hung_up, "a file that its guest has closed");
}

void SimWorld::Carry(DriverIoctl& ioctl) {
  if (const std::string problem = books_.WrongIn(ioctl); !problem.empty()) return Break(problem);
  ExpectHeld(ioctl, ioctl.file);
  for (const CallFile& file : ioctl.call.files) ExpectHeld(ioctl, file.file);
  if (Tenant& tenant = tenants_[ioctl.token.guest]; !tenant.wild) {
    const uint64_t asked_bytes = MemoryAskedBytes(ioctl.call);
    asked_bytes_[{{ioctl.token.guest, ioctl.token.process}, ioctl.token.lane}] = asked_bytes;
    tenant.in_flight_bytes += asked_bytes;
  }
  if (!ioctl.may_block && !random_.OneIn(kOneLateIn)) return Return(ioctl, Execute(ioctl));
  // It takes effect at its beginning or at its end, and other calls in between.
  ++tally_.late;
  const bool at_end = random_.OneIn(2);
  const int error = at_end ? 0 : Execute(ioctl);
  clock_.After(Soon(kLatencyNs), [this, ioctl, at_end, error]() mutable {
    const GuestId guest = ioctl.token.guest;
    Return(ioctl, at_end ? Execute(ioctl) : error);
    LeaveIfEmpty(guest);
  });
}

void SimWorld::Return(DriverIoctl& ioctl, int error) {
  books_.Returns(ioctl, error);
  books_.LeaveTraces(ioctl);
  Step(DriverReturned{ioctl.token, error, std::move(ioctl.call)});
}

int SimWorld::Execute(DriverIoctl& ioctl) {
  bool open = OwnerOf(ioctl.file) != nullptr;
  for (const CallFile& file : ioctl.call.files) open &= OwnerOf(file.file) != nullptr;
  Expect(open, "a file was closed under the call");
  const uint32_t fault = random_.Below(3 * kOneFaultIn);
  if (fault < 3) Fail(ioctl.token);
  if (fault == 0) return EIO;
  if (fault == 1) return FailWithStatus(ioctl);
  const int error = driver().Ioctl(ioctl.file, ioctl.call);
  if (abi::IsEscape(ioctl.call.command, kControl) && ioctl.call.segments.size() > 1) {
    const uint32_t cmd = Get<uint32_t>(ioctl.call.Bytes(0), abi::nvos54::kCmd);
    const auto params = ioctl.call.Bytes(1);
    if (cmd == kGetTime || cmd == kTimeCorrelation)
      std::fill(params.begin() + (cmd == kTimeCorrelation ? 8 : 0), params.end(),
                static_cast<uint8_t>(clock_.now_ns()));
  }
  // The driver has done it, and cannot say so: the answer's memory is gone.
  return fault == 2 ? EFAULT : error;
}

// All that a driver may write behind pointers is overwritten. Returns the errno.
int SimWorld::FailWithStatus(DriverIoctl& ioctl) {
  const abi::Spec* spec = books_.SpecOf(ioctl);
  if (spec == nullptr || spec->status_offset == abi::kNone) return EIO;
  for (uint32_t i = 1; i < ioctl.call.segments.size(); ++i)
    std::fill(ioctl.call.Bytes(i).begin(), ioctl.call.Bytes(i).end(), 0xab);
  Put<uint32_t>(ioctl.call.Bytes(0), spec->status_offset, kTroubles[random_.Below(std::size(kTroubles))]);
  return 0;
}

// ---- Replies, and what guests know by them ----

void SimWorld::Opened(const ReplyOpen& reply) {
  const ProcessKey key{reply.token.guest, reply.token.process};
  asked_.erase({key, reply.token.lane});
  if (reply.error == 0) {
    OpenFile& file = files_[{reply.token.guest, reply.file}];
    file = {reply.node.device_class, {}, {key.second}};
    placeholder_of_[last_opened_] = {reply.token.guest, reply.file};
    // The descriptor dies with the socket that it lies in.
    if (Find(key) != nullptr)
      file.holders.insert(key.second);
    else
      HangUpSoon({reply.token.guest, reply.file});
  }
  Wake(reply.token);
}

void SimWorld::Answered(const ReplyIoctl& reply) {
  const ProcessKey key{reply.token.guest, reply.token.process};
  const LaneKey lane{key, reply.token.lane};
  Tenant& tenant = tenants_[reply.token.guest];
  if (const auto bytes = asked_bytes_.find(lane); bytes != asked_bytes_.end()) {
    tenant.in_flight_bytes -= bytes->second;
    asked_bytes_.erase(bytes);
  }
  if (const auto asked = asked_.find(lane); asked != asked_.end()) {
    Account(tenant, asked->second, reply);
    asked_.erase(asked);
  } else if (tenant.wild && reply.error == 0 && reply.with_segments && MakesClient(reply.call)) {
    for (auto& [file, open] : files_)
      if (file.first == key.first && open.holders.contains(key.second)) {
        open.clients.push_back(Get<uint32_t>(reply.call.Bytes(0), abi::nvos21::kObjectNew));
        break;
      }
  }
  Wake(reply.token);
}

// An honest guest's own books.
void SimWorld::Account(Tenant& tenant, const Call& asked, const ReplyIoctl& reply) {
  if (reply.error != 0 || !reply.with_segments) return;
  const auto bytes = reply.call.Bytes(0);
  const uint32_t number = abi::IocNumber(asked.call.command);
  const uint32_t client = Get<uint32_t>(bytes, 0), object = Get<uint32_t>(bytes, abi::nvos21::kObjectNew);
  if (number == kAlloc && Get<uint32_t>(bytes, abi::nvos21::kStatus) == 0) {
    if (MakesClient(asked.call)) {
      tenant.clients[object].file = asked.file;
      files_[{reply.token.guest, asked.file}].clients.push_back(object);
      return;
    }
    Client& its = tenant.clients[client];
    ++its.objects;
    if (MemoryAskedBytes(asked.call) != 0)
      its.memory_bytes[object] = Get<uint64_t>(reply.call.Bytes(1), kMemorySizeOffset);
  } else if (number == kFree && Get<uint32_t>(bytes, abi::nvos00::kStatus) == 0) {
    if (object == client) {
      tenant.clients.erase(client);
    } else {
      --tenant.clients[client].objects;
      tenant.clients[client].memory_bytes.erase(object);
    }
  }
}

void SimWorld::ClosedAtDriver(DriverFileId file) {
  books_.Closed(file);
  placeholder_of_.erase(file);
}

void SimWorld::Closed(GuestId guest, FileId file) {
  files_.erase({guest, file});
  claims_.erase({guest, file});
  std::erase_if(tenants_[guest].clients, [&](const auto& one) { return one.second.file == file; });
}

}  // namespace nvshim::testing
