#include "testing/rm_client/session.h"

#include <cinttypes>

namespace nvshim::rm_client {
namespace {

using victim::Law;

constexpr uint32_t kCardsMax = 32;  // NV_MAX_DEVICES
constexpr uint32_t kNvidia = 0x10de;

unsigned long Request(const abi::Fact& escape, uint32_t size) {
  return _IOC(_IOC_READ | _IOC_WRITE, 'F', escape.number, size);
}

uint32_t StatusOf(const abi::Fact& call, const Params& params) {
  for (const abi::FactField& field : call.fields)
    if (field.role == "status") return params.GetAt<uint32_t>(field.offset);
  return 0;
}

}  // namespace

void Say(const char* what, const std::string& value) { std::printf("%s = %s\n", what, value.c_str()); }
void Say(const char* what, uint64_t value) { std::printf("%s = %" PRIu64 "\n", what, value); }

Session::Session(const Dialect& dialect, const std::string& version)
    : dialect_(dialect), ctl_(victim::Open(victim::kCtl)) {
  AskFrontend(version);
  gpu_ = victim::Open(victim::kGpu0);
  if (dialect_.Find("escape", "NV_ESC_WAIT_OPEN_COMPLETE") != nullptr) {
    Params opened(dialect_, "nv_ioctl_wait_open_complete_t");
    Escape(gpu_, "NV_ESC_WAIT_OPEN_COMPLETE", opened);
    Law(opened.Get("rc") == 0 && opened.Get("adapterStatus") == 0, "/dev/nvidia0 is not open yet");
  }
  client_ = victim::NewClient(ctl_);
  Params registration(dialect_, "nv_ioctl_register_fd_t");
  registration.Set("ctl_fd", ctl_);
  Escape(gpu_, "NV_ESC_REGISTER_FD", registration);
  Params device(dialect_, "NV0080_ALLOC_PARAMETERS"), subdevice(dialect_, "NV2080_ALLOC_PARAMETERS");
  Alloc(client_, kDevice, "NV01_DEVICE_0", &device);
  Alloc(kDevice, kSubdevice, "NV20_SUBDEVICE_0", &subdevice);
}

Session::~Session() {
  victim::FreeClient(ctl_, client_);
  close(gpu_);
  close(ctl_);
}

void Session::AskFrontend(const std::string& version) {
  const abi::Fact* check = dialect_.Find("escape", "NV_ESC_CHECK_VERSION_STR");
  for (const std::string& asked : {version, std::string("1.2.3")}) {
    Params params(dialect_, "nv_ioctl_rm_api_version_t");
    std::memcpy(static_cast<char*>(params.data()) + params.OffsetOf("versionString"), asked.data(),
                asked.size());
    const int result = ioctl(ctl_, Request(*check, params.size()), params.data());
    Law((result == 0) == (asked == version), "a client of version %s is answered %d", asked.c_str(), result);
    Law(params.Text("versionString") == version, "the driver says that it is %s",
        params.Text("versionString").c_str());
    params.CheckGuard();
  }

  Params system(dialect_, "nv_ioctl_sys_params_t");
  system.Set<uint64_t>("memblock_size", 128 << 20);
  Escape(ctl_, "NV_ESC_SYS_PARAMS", system);

  Params cards(dialect_, "nv_ioctl_card_info_t", kCardsMax);
  Escape(ctl_, "NV_ESC_CARD_INFO", cards);
  Law(cards.Get<uint8_t>("valid") == 1, "there is no card");
  Law(cards.IsZeroFrom(dialect_.SizeOf("nv_ioctl_card_info_t")), "there is more than one card");
  Law(cards.Get<uint16_t>("pci_info.vendor_id") == kNvidia, "the card is not of NVIDIA");
  Law(cards.Get("minor_number") == 0, "the card is not /dev/nvidia0");
  gpu_id_ = cards.Get("gpu_id");
  pci_device_id_ = cards.Get<uint16_t>("pci_info.device_id");
}

uint32_t Session::Escape(int fd, std::string_view name, Params& params) const {
  const abi::Fact* escape = dialect_.Find("escape", name);
  Law(escape != nullptr, "there is no %s", std::string(name).c_str());
  Law(ioctl(fd, Request(*escape, params.size()), params.data()) == 0, "%s fails", escape->name.c_str());
  params.CheckGuard();
  return StatusOf(*escape, params);
}

uint32_t Session::Uvm(int fd, std::string_view name, Params& params) const {
  const abi::Fact* call = dialect_.Find("uvm", name);
  Law(call != nullptr, "there is no %s", std::string(name).c_str());
  Law(ioctl(fd, call->number, params.data()) == 0, "%s fails", call->name.c_str());
  params.CheckGuard();
  return StatusOf(*call, params);
}

uint32_t Session::TryAlloc(uint32_t parent, uint32_t object, uint32_t class_number, Params* params) const {
  const abi::Fact* escape = dialect_.Find("escape", "NV_ESC_RM_ALLOC");
  Params call(dialect_, "NVOS64_PARAMETERS");
  call.Set("hRoot", client_)
      .Set("hObjectParent", parent)
      .Set("hObjectNew", object)
      .Set("hClass", class_number);
  if (params != nullptr) call.Set<uint64_t>("pAllocParms", reinterpret_cast<uintptr_t>(params->data()));
  Law(ioctl(ctl_, Request(*escape, call.size()), call.data()) == 0, "NV_ESC_RM_ALLOC of class 0x%x fails",
      class_number);
  Law(call.Get("hObjectNew") == object, "class 0x%x has another handle than was asked for", class_number);
  call.CheckGuard();
  if (params != nullptr) params->CheckGuard();
  return call.Get("status");
}

void Session::Alloc(uint32_t parent, uint32_t object, uint32_t class_number, Params* params) const {
  Law(TryAlloc(kNothing, object, class_number, params) != 0, "class 0x%x needs no parent", class_number);
  const uint32_t status = TryAlloc(parent, object, class_number, params);
  Law(status == 0, "class 0x%x cannot be made: status 0x%x", class_number, status);
}

void Session::Alloc(uint32_t parent, uint32_t object, std::string_view class_name, Params* params) const {
  const abi::Fact* fact = dialect_.Find("class", class_name);
  Law(fact != nullptr, "there is no class %s", std::string(class_name).c_str());
  Law(params == nullptr || params->struct_name() == fact->struct_name, "%s takes %s", fact->name.c_str(),
      fact->struct_name.c_str());
  Alloc(parent, object, fact->number, params);
}

void Session::Free(uint32_t object) const {
  Params call(dialect_, "NVOS00_PARAMETERS");
  call.Set("hRoot", client_).Set("hObjectOld", object);
  const uint32_t status = Escape(ctl_, "NV_ESC_RM_FREE", call);
  Law(status == 0, "object 0x%x cannot be freed: status 0x%x", object, status);
}

uint32_t Session::ControlOfSize(uint32_t object, const abi::Fact& control, Params& params,
                                uint32_t size) const {
  Params call(dialect_, "NVOS54_PARAMETERS");
  call.Set("hClient", client_).Set("hObject", object).Set("cmd", control.number).Set("paramsSize", size);
  call.Set<uint64_t>("params", reinterpret_cast<uintptr_t>(params.data()));
  const uint32_t status = Escape(ctl_, "NV_ESC_RM_CONTROL", call);
  params.CheckGuard();
  return status;
}

uint32_t Session::TryControl(uint32_t object, std::string_view name, Params& params) const {
  const abi::Fact* control = dialect_.Find("control", name);
  Law(control != nullptr, "there is no %s", std::string(name).c_str());
  Law(control->struct_name == params.struct_name(), "%s takes %s", control->name.c_str(),
      control->struct_name.c_str());
  return ControlOfSize(object, *control, params, params.size());
}

void Session::Control(uint32_t object, std::string_view name, Params& params) const {
  Params longer = params;
  const uint32_t status = TryControl(object, name, params);
  Law(status == 0, "%s: status 0x%x", std::string(name).c_str(), status);
  Law(ControlOfSize(object, *dialect_.Find("control", name), longer, longer.size() + 4) != 0,
      "%s takes %u bytes as well", std::string(name).c_str(), longer.size() + 4);
}

}  // namespace nvshim::rm_client
