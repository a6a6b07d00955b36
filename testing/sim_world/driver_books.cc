#include "testing/sim_world/driver_books.h"

#include <iterator>

#include "testing/sim_world/program.h"

namespace nvshim::testing {

using namespace nvshim::broker;  // the subject
using namespace nvshim::testing::program;

namespace {

constexpr uint64_t kAddressOfWorker = 0x7f3a'5c00'1000;
constexpr uint32_t kDescriptorOfWorker = 77;

bool IsUvm(DeviceClass device_class) {
  return device_class == DeviceClass::kUvm || device_class == DeviceClass::kUvmTools;
}

bool HasNested(const abi::Spec& spec) {
  return spec.shape == abi::Shape::kControl || spec.shape == abi::Shape::kAlloc;
}

void LeaveIn(const abi::Spec& spec, std::span<uint8_t> bytes) {
  for (const abi::Pointer& pointer : spec.pointers) Put<uint64_t>(bytes, pointer.offset, kAddressOfWorker);
  for (const abi::FdField& fd : spec.fds) Put<uint32_t>(bytes, fd.offset, kDescriptorOfWorker);
}

}  // namespace

bool MakesClient(const DriverCall& call) {
  if (!abi::IsEscape(call.command, kAlloc) || call.segments.empty()) return false;
  const uint32_t rm_class = Get<uint32_t>(call.Bytes(0), abi::nvos21::kClass);
  return rm_class == 0 || rm_class == 1 || rm_class == kClientClass;
}

void DriverBooks::Closed(DriverFileId file) {
  files_.erase(file);
  std::erase_if(clients_, [&](const auto& one) { return one.second.file == file; });
}

DriverFileId DriverBooks::FileAt(uint32_t i) const { return std::next(files_.begin(), i)->first; }

DeviceClass DriverBooks::ClassOf(DriverFileId file) const {
  const auto it = files_.find(file);
  return it == files_.end() ? DeviceClass::kCtl : it->second.device_class;
}

// A client is used through the file that it was made on, or one that is registered to it.
bool DriverBooks::MayIssue(const DriverIoctl& ioctl, const abi::Spec& spec) const {
  if (spec.clients.size == 0 || IsUvm(ClassOf(ioctl.file)) || MakesClient(ioctl.call)) return true;
  const auto client = clients_.find(Get<uint32_t>(ioctl.call.Bytes(0), spec.clients.data[0]));
  const auto file = files_.find(ioctl.file);
  return client != clients_.end() && file != files_.end() &&
         (client->second.file == ioctl.file || client->second.file == file->second.registered_ctl);
}

std::string DriverBooks::WrongIn(const DriverIoctl& ioctl) const {
  const std::string problem = laws_.WrongAtDriver(ClassOf(ioctl.file), ioctl.call, [&](uint32_t real_handle) {
    const auto it = clients_.find(real_handle);
    return it != clients_.end() && it->second.guest == ioctl.token.guest;
  });
  if (!problem.empty()) return problem;
  if (ioctl.call.segments.empty()) return "";
  if (!MayIssue(ioctl, *SpecOf(ioctl))) return "a client through a file that it was not made on";
  if (!abi::IsEscape(ioctl.call.command, kRegisterFd) || IsUvm(ClassOf(ioctl.file))) return "";
  return !ioctl.call.files.empty() && ClassOf(ioctl.call.files[0].file) == DeviceClass::kCtl
             ? ""
             : "a file registered to one that is no ctl file";
}

void DriverBooks::Returns(const DriverIoctl& ioctl, int error) {
  const abi::Spec* spec = SpecOf(ioctl);
  if (error != 0 || spec == nullptr || ioctl.call.segments.empty() || IsUvm(ClassOf(ioctl.file))) return;
  const auto bytes = ioctl.call.Bytes(0);
  if (spec->status_offset != abi::kNone && Get<uint32_t>(bytes, spec->status_offset) != 0) return;
  const uint32_t object = spec->size >= 12 ? Get<uint32_t>(bytes, abi::nvos21::kObjectNew) : 0;
  if (MakesClient(ioctl.call)) {
    clients_[object] = {ioctl.token.guest, ioctl.file};
  } else if (spec->number == kFree && object == Get<uint32_t>(bytes, 0)) {
    clients_.erase(object);
  } else if (spec->number == kRegisterFd) {
    DriverFileId& ctl = files_[ioctl.file].registered_ctl;
    if (ctl == 0) ctl = ioctl.call.files[0].file;
  }
}

void DriverBooks::LeaveTraces(DriverIoctl& ioctl) const {
  const abi::Spec* spec = SpecOf(ioctl);
  if (spec == nullptr || ioctl.call.segments.empty()) return;
  const auto bytes = ioctl.call.Bytes(0);
  LeaveIn(*spec, bytes);
  if (!HasNested(*spec)) return;
  const uint32_t params = ioctl.call.Child(0, abi::nvos54::kParams);
  const abi::Spec* nested = laws_.NestedOf(*spec, ioctl.call);
  if (params != 0 && nested != nullptr) LeaveIn(*nested, ioctl.call.Bytes(params));
  Put<uint64_t>(bytes, abi::nvos54::kParams, kAddressOfWorker);
}

}  // namespace nvshim::testing
