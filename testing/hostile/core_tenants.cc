#include "testing/hostile/core_tenants.h"

#include <algorithm>
#include <cerrno>
#include <set>
#include <utility>

namespace nvshim::testing {

using namespace nvshim::broker;  // the subject

namespace {

// Where the driver's client numbers begin: far from those that guests are given, and from small ones.
constexpr uint32_t kRealClientBase = 0x7a31c500;
constexpr uint32_t kRealClientStride = 0x1021;

// A number that the victim has wished for.
constexpr uint32_t kWished = 0x5ec0ffee;

uint32_t Swapped(uint32_t value) { return __builtin_bswap32(value); }

}  // namespace

CoreTenants::CoreTenants(const abi::Table& table) : table_(table), core_(&table, {0, 1}) {
  for (GuestId guest : {kVictim, kIntruder}) {
    Step(GuestAdded{guest});
    for (uint32_t process : {1, 2}) Step(ProcessAttached{guest, static_cast<ProcessId>(process)});
  }
  // The intruder's first: its numbers begin where the victim's do, and end before.
  own_.ctl = Open(kIntruder, DeviceClass::kCtl);
  own_.gpu = Open(kIntruder, DeviceClass::kGpu);
  own_.uvm = Open(kIntruder, DeviceClass::kUvm);
  own_.client = MakeClient(kIntruder, own_.ctl, 0);
  own_real_ = kRealClientBase + kRealClientStride;
  const uint32_t second_ctl = Open(kIntruder, DeviceClass::kCtl);
  other_files_client_ = MakeClient(kIntruder, second_ctl, 0);
  const uint32_t siblings = Open(kIntruder, DeviceClass::kCtl, 2);
  const uint32_t closed = Open(kIntruder, DeviceClass::kCtl);
  Step(FileHungUp{kIntruder, static_cast<FileId>(closed)});

  std::set<uint32_t> foreign;
  std::vector<uint32_t> files;
  for (DeviceClass device_class : {DeviceClass::kCtl, DeviceClass::kGpu, DeviceClass::kUvm, DeviceClass::kCtl,
                                   DeviceClass::kCtl, DeviceClass::kGpu, DeviceClass::kUvm})
    files.push_back(Open(kVictim, device_class));
  for (uint32_t wanted : {0u, 0u, 0u, kWished}) foreign.insert(MakeClient(kVictim, files[0], wanted));
  for (const auto& [real, guest] : real_clients_) foreign.insert(real);
  for (uint32_t value : std::set<uint32_t>(foreign))
    foreign.insert({value - 1, value + 1, value ^ 0x100000, value ^ 0x80000000, Swapped(value)});
  foreign.insert({0xffffffff, 1});
  for (uint32_t mine : {own_.client, other_files_client_, 0u}) foreign.erase(mine);
  foreign_clients_.assign(foreign.begin(), foreign.end());

  foreign_files_ = {0, closed, siblings, own_.ctl ^ 0x80000000, own_.ctl + 0x1000, 0xffffffff};
  // Those of the victim's that are not by chance numbers of the intruder's own.
  for (uint32_t file : files)
    if (file != own_.ctl && file != own_.gpu && file != own_.uvm && file != second_ctl)
      foreign_files_.push_back(file);
}

void CoreTenants::Break(const std::string& law) {
  if (broken_law_.empty()) broken_law_ = law;
}

void CoreTenants::Step(Event event) {
  std::vector<Action> actions;
  core_.Step(std::move(event), &actions);
  for (Action& action : actions) std::visit([&](auto& one) { Do(one); }, action);
}

uint32_t CoreTenants::Open(GuestId guest, DeviceClass device_class, uint32_t process) {
  opened_ = 0;
  Step(OpenRequested{{guest, static_cast<ProcessId>(process), 0},
                     ++sequence_,
                     static_cast<uint32_t>(device_class),
                     0,
                     2 /* O_RDWR */});
  if (opened_ == 0) Break("a file cannot be opened");
  return opened_;
}

uint32_t CoreTenants::MakeClient(GuestId guest, uint32_t ctl, uint32_t wanted) {
  HonestRequest request = MakeHonestRequest(table_, Kind::kClass, *abi::Find(table_.classes, 0x41), {});
  Put<uint32_t>(request.call.Bytes(0), abi::nvos21::kObjectNew, wanted);
  made_ = 0;
  Step(IoctlRequested{{guest, ProcessId{1}, 0}, ++sequence_, ctl, request.call, request.files});
  if (made_ == 0) Break("a client cannot be made");
  return made_;
}

Outcome CoreTenants::Try(const HonestRequest& request) {
  outcome_ = {};
  on_ = request.on;
  status_offset_ = request.status_offset;
  attempting_ = true;
  const uint32_t file = on_ == DeviceClass::kCtl ? own_.ctl : on_ == DeviceClass::kGpu ? own_.gpu : own_.uvm;
  Step(IoctlRequested{{kIntruder, ProcessId{1}, 0}, ++sequence_, file, request.call, request.files});
  attempting_ = false;
  return outcome_;
}

// ---- The driver ----

void CoreTenants::Do(DriverOpen& one) {
  owners_[++last_file_] = one.token.guest;
  Step(DriverOpened{one.token, {0, last_file_}});
}

void CoreTenants::Do(DriverIoctl& one) {
  if (attempting_) {
    outcome_.reached_driver = true;
    outcome_.at_driver = one.call;
    CheckLaws(one);
    return Step(DriverReturned{one.token, EIO, std::move(one.call)});
  }
  next_real_ = (next_real_ == 0 ? kRealClientBase : next_real_) + kRealClientStride;
  real_clients_[next_real_] = one.token.guest;
  Put<uint32_t>(one.call.Bytes(0), abi::nvos21::kObjectNew, next_real_);
  Step(DriverReturned{one.token, 0, std::move(one.call)});
}

void CoreTenants::Do(ReplyIoctl& one) {
  if (!attempting_) {
    made_ = Get<uint32_t>(one.call.Bytes(0), abi::nvos21::kObjectNew);
    return;
  }
  outcome_.error = one.error;
  if (one.with_segments && status_offset_ != abi::kNone)
    outcome_.status = Get<uint32_t>(one.call.Bytes(0), status_offset_);
}

// ---- Laws of what reaches the driver ----

void CoreTenants::CheckFields(const abi::Spec& spec, const DriverCall& call, uint32_t segment) {
  const std::string at = std::string(spec.name) + ": ";
  const auto bytes = call.Bytes(segment);
  for (uint16_t offset : spec.clients) {
    const uint32_t value = Get<uint32_t>(bytes, offset);
    const auto real = real_clients_.find(value);
    if (value != 0 && (real == real_clients_.end() || real->second != kIntruder))
      Break(at + "client field " + std::to_string(offset) + " reached the driver with another's number");
  }
  if (spec.share_policy_offset != abi::kNone) {
    const auto policy = bytes.subspan(spec.share_policy_offset);
    const auto type = Get<uint16_t>(policy, abi::share_policy::kType);
    const auto target = real_clients_.find(Get<uint32_t>(policy, abi::share_policy::kTarget));
    const bool own = type == abi::share_policy::kTypeClient && target != real_clients_.end() &&
                     target->second == kIntruder;
    if (!own && type != abi::share_policy::kTypeNone && type != abi::share_policy::kTypePid &&
        type < abi::share_policy::kTypeCount)
      Break(at + "something is shared beyond the guest");
  }
  for (const abi::FdField& fd : spec.fds)
    if (fd.use != abi::FdUse::kCookie && Get<uint32_t>(bytes, fd.offset) != 0xffffffff)
      Break(at + "a descriptor's number reached the driver");
  for (const abi::Pointer& pointer : spec.pointers) {
    if (Get<uint64_t>(bytes, pointer.offset) != 0) Break(at + "an address reached the driver");
    const uint32_t child = call.Child(segment, pointer.offset);
    if (child == 0) continue;
    const uint64_t count =
        pointer.count_offset == abi::kNone ? 1 : Get<uint32_t>(bytes, pointer.count_offset);
    const uint64_t told_bytes = count * pointer.element_size;
    if (told_bytes != call.segments[child].size_bytes || told_bytes > pointer.size_max)
      Break(at + "the driver is told of more than there is, at pointer " + std::to_string(pointer.offset));
  }
}

void CoreTenants::CheckLaws(const DriverIoctl& one) {
  for (const CallFile& file : one.call.files) {
    const auto owner = owners_.find(file.file);
    if (owner == owners_.end() || owner->second != kIntruder) Break("a file of another's reached the driver");
  }
  const auto owner = owners_.find(one.file);
  if (owner == owners_.end() || owner->second != kIntruder) Break("a call on a file of another's");
  const DriverCall& call = one.call;
  const bool uvm = on_ == DeviceClass::kUvm;
  const abi::Spec* spec =
      uvm ? abi::Find(table_.uvm, call.command) : abi::Find(table_.escapes, abi::IocNumber(call.command));
  if (spec != nullptr && spec->shape != abi::Shape::kArray && !uvm)
    spec = abi::Find(table_.escapes, spec->number, abi::IocSize(call.command));
  if (spec == nullptr || spec->withheld) return Break("an unknown or withheld call reached the driver");
  if (call.segments.empty()) return;
  CheckFields(*spec, call, 0);
  const bool control = spec->shape == abi::Shape::kControl;
  if (!control && spec->shape != abi::Shape::kAlloc) return;
  const uint32_t number = Get<uint32_t>(call.Bytes(0), control ? abi::nvos54::kCmd : abi::nvos21::kClass);
  const abi::Spec* nested = control ? abi::FindControl(table_, number) : abi::Find(table_.classes, number);
  if (nested == nullptr || nested->withheld) return Break("an unknown control or class reached the driver");
  const uint32_t params = call.Child(0, abi::nvos54::kParams);
  const uint32_t size_bytes = params == 0 ? 0 : call.segments[params].size_bytes;
  if (control && Get<uint32_t>(call.Bytes(0), abi::nvos54::kParamsSize) != size_bytes)
    Break("paramsSize reached the driver that is not the size of the parameters");
  if (params == 0) return;
  if (size_bytes < nested->size || size_bytes > nested->size_max)
    return Break(std::string(nested->name) + ": parameters of a wrong size reached the driver");
  CheckFields(*nested, call, params);
}

}  // namespace nvshim::testing
