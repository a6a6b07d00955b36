// Each answer is taken apart at the offsets of the version's headers, and held against what other answers say
// of the same GPU.
#include <algorithm>
#include <array>
#include <bit>
#include <set>

#include "testing/rm_client/laws.h"

namespace nvshim::rm_client {
namespace {

using victim::Law;

constexpr uint32_t kNoGpu = 0xffffffff;               // NV0000_CTRL_GPU_INVALID_ID
constexpr uint32_t kEngineGr0 = 1, kEngineCopy0 = 9;  // NV2080_ENGINE_TYPE_GR0, _COPY0
constexpr uint32_t kCopyEnginesMax = 10;

void CheckBuildVersion(const Session& session, const std::string& version) {
  char driver[64] = {}, other[64] = {}, title[64] = {};
  Params params(session.dialect(), "NV0000_CTRL_SYSTEM_GET_BUILD_VERSION_PARAMS");
  params.Set("sizeOfStrings", uint32_t{sizeof(driver)})
      .Set("pDriverVersionBuffer", &driver[0])
      .Set("pVersionBuffer", &other[0])
      .Set("pTitleBuffer", &title[0]);
  const uint32_t status =
      session.TryControl(session.client(), "NV0000_CTRL_CMD_SYSTEM_GET_BUILD_VERSION", params);
  Law(status == 0, "GET_BUILD_VERSION: status 0x%x", status);
  Law(driver == version, "the driver was built as '%s'", driver);
}

void CheckGpuIds(const Session& session) {
  constexpr uint32_t kGpusMax = 32;  // NV0000_CTRL_GPU_MAX_PROBED_GPUS
  const Dialect& dialect = session.dialect();
  Params probed(dialect, "NV0000_CTRL_GPU_GET_PROBED_IDS_PARAMS");
  session.Control(session.client(), "NV0000_CTRL_CMD_GPU_GET_PROBED_IDS", probed);
  Law(probed.Get("gpuIds") == session.gpu_id(), "another GPU is probed than the card that there is");
  for (uint32_t i = 0; i < kGpusMax; ++i) {
    Law(i == 0 || probed.Get("gpuIds", 4 * i) == kNoGpu, "a GPU is probed in slot %u", i);
    Law(probed.Get("excludedGpuIds", 4 * i) == kNoGpu, "a GPU is excluded in slot %u", i);
  }
  if (probed.Has("gpuFlags")) Law(probed.IsZeroFrom(probed.OffsetOf("gpuFlags")), "gpuFlags are set");

  Params attach(dialect, "NV0000_CTRL_GPU_ATTACH_IDS_PARAMS");
  attach.Set("gpuIds", session.gpu_id()).Set("gpuIds", kNoGpu, 4);
  session.Control(session.client(), "NV0000_CTRL_CMD_GPU_ATTACH_IDS", attach);
  Law(attach.Get("failedId") == kNoGpu, "GPU 0x%x cannot be attached", attach.Get("failedId"));
  for (const char* step : {"ASYNC", "WAIT"}) {
    const std::string name = std::string("NV0000_CTRL_CMD_GPU_") + step + "_ATTACH_ID";
    if (dialect.Find("control", name) == nullptr) continue;
    Params one(dialect, std::string("NV0000_CTRL_GPU_") + step + "_ATTACH_ID_PARAMS");
    one.Set("gpuId", session.gpu_id());
    session.Control(session.client(), name, one);
    one.Set("gpuId", session.gpu_id() + 1);
    Law(session.TryControl(session.client(), name, one) != 0, "%s knows a GPU that is not there",
        name.c_str());
  }
  if (dialect.Find("control", "NV0000_CTRL_CMD_GPU_GET_ACTIVE_DEVICE_IDS") != nullptr) {
    Params active(dialect, "NV0000_CTRL_GPU_GET_ACTIVE_DEVICE_IDS_PARAMS");
    session.Control(session.client(), "NV0000_CTRL_CMD_GPU_GET_ACTIVE_DEVICE_IDS", active);
    Law(active.Get("numDevices") == 1 && active.Get("devices") == session.gpu_id(),
        "another device is active");
  }

  Params info(dialect, "NV0000_CTRL_GPU_GET_ID_INFO_V2_PARAMS");
  info.Set("gpuId", session.gpu_id());
  session.Control(session.client(), "NV0000_CTRL_CMD_GPU_GET_ID_INFO_V2", info);
  Law(info.Get("deviceInstance") == 0, "the GPU is device %u", info.Get("deviceInstance"));

  constexpr uint8_t kNotSupported = 5;  // NV0000_P2P_CAPS_STATUS_NOT_SUPPORTED
  Params peers(dialect, "NV0000_CTRL_SYSTEM_GET_P2P_CAPS_V2_PARAMS");
  peers.Set("gpuIds", session.gpu_id()).Set("gpuCount", 1u);
  session.Control(session.client(), "NV0000_CTRL_CMD_SYSTEM_GET_P2P_CAPS_V2", peers);
  Law(peers.Get("p2pCaps") == 0 && peers.Get<uint8_t>("p2pCapsStatus") == kNotSupported,
      "a GPU alone has peers");
}

void CheckIdentity(const Session& session) {
  const Dialect& dialect = session.dialect();
  Params name(dialect, "NV2080_CTRL_GPU_GET_NAME_STRING_PARAMS");
  session.Control(kSubdevice, "NV2080_CTRL_CMD_GPU_GET_NAME_STRING", name);
  Say("name", name.Text("gpuNameString"));
  Law(name.Text("gpuNameString").starts_with("NVIDIA "), "the name is not one of NVIDIA's");

  Params gid(dialect, "NV2080_CTRL_GPU_GET_GID_INFO_PARAMS");
  session.Control(kSubdevice, "NV2080_CTRL_CMD_GPU_GET_GID_INFO", gid);
  const std::string text = gid.Text("data");
  Say("uuid", text);
  Law(gid.Get("length") == text.size() + 1, "the UUID has length %u", gid.Get("length"));
  std::string hex = "GPU-";
  for (const uint8_t byte : Uuid(session)) {
    char digits[3];
    snprintf(digits, sizeof(digits), "%02x", byte);
    hex += digits;
  }
  std::string plain = text;
  std::erase(plain, '-');
  std::erase(hex, '-');
  Law(plain == hex, "the UUID is %s as text and %s as bytes", plain.c_str(), hex.c_str());

  Params arch(dialect, "NV2080_CTRL_MC_GET_ARCH_INFO_PARAMS");
  session.Control(kSubdevice, "NV2080_CTRL_CMD_MC_GET_ARCH_INFO", arch);
  Say("architecture", arch.Get("architecture"));
  Say("implementation", arch.Get("implementation"));

  Params pci(dialect, "NV2080_CTRL_BUS_GET_PCI_INFO_PARAMS");
  session.Control(kSubdevice, "NV2080_CTRL_CMD_BUS_GET_PCI_INFO", pci);
  Law(pci.Get("pciDeviceId") >> 16 == session.pci_device_id(), "PCI device 0x%x", pci.Get("pciDeviceId"));
  Params bars(dialect, "NV2080_CTRL_BUS_GET_PCI_BAR_INFO_PARAMS");
  session.Control(kSubdevice, "NV2080_CTRL_CMD_BUS_GET_PCI_BAR_INFO", bars);
  Law(bars.Get("pciBarCount") == 3, "the GPU has %u BARs", bars.Get("pciBarCount"));

  Params virtualised(dialect, "NV0080_CTRL_GPU_GET_VIRTUALIZATION_MODE_PARAMS");
  session.Control(kDevice, "NV0080_CTRL_CMD_GPU_GET_VIRTUALIZATION_MODE", virtualised);
  Law(virtualised.IsZeroFrom(0), "the GPU is virtualised");

  Params time(dialect, "NV2080_CTRL_TIMER_GET_TIME_PARAMS");
  session.Control(kSubdevice, "NV2080_CTRL_CMD_TIMER_GET_TIME", time);
  Law(time.Get<uint64_t>("time_nsec") != 0, "the GPU's clock stands still");
}

// Lists of {index, data} inside of the parameters, as long as the version allows. All entries ask for
// `index`.
uint32_t AskList(const Session& session, const char* control, const char* struct_name, const char* count,
                 const char* list, uint32_t index) {
  Params params(session.dialect(), struct_name);
  const uint32_t entries = (params.size() - params.OffsetOf(list)) / 8;
  params.Set(count, entries);
  for (uint32_t i = 0; i < entries; ++i) params.Set(list, index, 8 * i).Set(list, ~0u, 8 * i + 4);
  session.Control(kSubdevice, control, params);
  for (uint32_t i = 0; i < entries; ++i) {
    Law(params.Get(list, 8 * i) == index, "%s changes the question", control);
    Law(params.Get(list, 8 * i + 4) == params.Get(list, 4), "%s: entry %u differs", control, i);
  }
  return params.Get(list, 4);
}

uint32_t GrInfo(const Session& session, uint32_t index) {
  uint32_t entry[2] = {index, 0};
  Params params(session.dialect(), "NV2080_CTRL_GR_GET_INFO_PARAMS");
  params.Set("grInfoListSize", 1u).Set("grInfoList", &entry[0]);
  const uint32_t status = session.TryControl(kSubdevice, "NV2080_CTRL_CMD_GR_GET_INFO", params);
  Law(status == 0, "GR_GET_INFO: status 0x%x", status);
  return entry[1];
}

void CheckLists(const Session& session) {
  const auto fb = [&](uint32_t index) {
    return AskList(session, "NV2080_CTRL_CMD_FB_GET_INFO_V2", "NV2080_CTRL_FB_GET_INFO_V2_PARAMS",
                   "fbInfoListSize", "fbInfoList", index);
  };
  const uint32_t total = fb(0x08), free = fb(0x16);  // NV2080_CTRL_FB_INFO_INDEX_TOTAL_RAM_SIZE, _HEAP_FREE
  Say("memory in KiB", total);
  Law(free <= total && free > total / 2, "%u KiB of %u are free", free, total);
  const uint32_t bus = AskList(session, "NV2080_CTRL_CMD_BUS_GET_INFO_V2",
                               "NV2080_CTRL_BUS_GET_INFO_V2_PARAMS", "busInfoListSize", "busInfoList", 0);
  Law(bus == 3, "the bus is of type %u, not PCI Express", bus);
  const uint32_t sm =
      AskList(session, "NV2080_CTRL_CMD_GPU_GET_INFO_V2", "NV2080_CTRL_GPU_GET_INFO_V2_PARAMS",
              "gpuInfoListSize", "gpuInfoList", 0x2c);  // NV2080_CTRL_GPU_INFO_INDEX_GPU_SM_VERSION
  Law(sm == GrInfo(session, 0x0c), "the SMs are of version 0x%x as GPU_INFO has it", sm);
  Say("SM version", sm);
}

void CheckShaders(const Session& session) {
  const Dialect& dialect = session.dialect();
  constexpr uint32_t kEntries = 512;  // NV2080_CTRL_CMD_GR_GET_GLOBAL_SM_ORDER_MAX_SM_COUNT
  Params order(dialect, "NV2080_CTRL_GR_GET_GLOBAL_SM_ORDER_PARAMS");
  session.Control(kSubdevice, "NV2080_CTRL_CMD_GR_GET_GLOBAL_SM_ORDER", order);
  const uint32_t sms = order.Get<uint16_t>("numSm"), tpcs = order.Get<uint16_t>("numTpc");
  const uint32_t stride = (order.OffsetOf("numSm") - order.OffsetOf("globalSmId")) / kEntries;
  Say("SMs", sms);
  Law(sms == 2 * tpcs && sms <= kEntries, "%u SMs in %u TPCs", sms, tpcs);
  std::set<std::array<uint16_t, 3>> seen;
  for (uint32_t sm = 0; sm < sms; ++sm) {
    const auto field = [&](uint32_t offset) {
      return order.Get<uint16_t>("globalSmId", sm * stride + offset);
    };
    Law(seen.insert({field(0), field(2), field(4)}).second, "SM %u is named twice", sm);
    Law(field(6) < tpcs, "SM %u is in TPC %u", sm, field(6));
    const char* virtual_tpc = "globalSmId[].virtualTpcId";
    if (order.Has(virtual_tpc))
      Law(order.Get<uint16_t>(virtual_tpc, sm * stride) == field(2), "SM %u has another virtual TPC", sm);
  }

  Params mappings(dialect, "NV2080_CTRL_GR_GET_SM_TO_GPC_TPC_MAPPINGS_PARAMS");
  session.Control(kSubdevice, "NV2080_CTRL_CMD_GR_GET_SM_TO_GPC_TPC_MAPPINGS", mappings);
  const uint32_t room = (mappings.OffsetOf("smCount") - mappings.OffsetOf("smId")) / 8;
  Law(mappings.Get("smCount") == std::min(sms, room), "%u SMs are mapped", mappings.Get("smCount"));
  for (uint32_t sm = 0; sm < mappings.Get("smCount"); ++sm)
    Law(mappings.Get("smId", 8 * sm) == order.Get<uint16_t>("globalSmId", sm * stride), "SM %u has two GPCs",
        sm);

  Params ecc(dialect, "NV2080_CTRL_GPU_QUERY_ECC_STATUS_PARAMS");
  const uint32_t flags_end = ecc.OffsetOf("flags") + 4, units = ecc.OffsetOf("bFatalPoisonError") / 40;
  session.Control(kSubdevice, "NV2080_CTRL_CMD_GPU_QUERY_ECC_STATUS", ecc);
  Law(units * 40 == ecc.OffsetOf("bFatalPoisonError"), "units of ECC are not 40 bytes");
  uint64_t supported = 0;
  for (uint32_t unit = 0; unit < units; ++unit)  // {enabled, scrubComplete, supported, ...}
    supported |= uint64_t{ecc.Get<uint8_t>("units", 40 * unit + 2)} << unit;
  Say("units with ECC", supported);
  Law(supported == 0xf && ecc.IsZeroFrom(ecc.OffsetOf("bFatalPoisonError")) && ecc.IsZeroFrom(flags_end),
      "ECC of 0x%llx", static_cast<unsigned long long>(supported));
}

void CheckEngines(const Session& session) {
  const Dialect& dialect = session.dialect();
  Params engines(dialect, "NV2080_CTRL_GPU_GET_ENGINES_V2_PARAMS");
  session.Control(kSubdevice, "NV2080_CTRL_CMD_GPU_GET_ENGINES_V2", engines);
  const uint32_t count = engines.Get("engineCount");
  std::set<uint32_t> types;
  for (uint32_t i = 0; i < count; ++i) types.insert(engines.Get("engineList", 4 * i));
  Law(types.size() == count && types.contains(kEngineGr0), "engines are named twice, or there is no GR0");
  Law(engines.IsZeroFrom(engines.OffsetOf("engineList") + 4 * count),
      "there is something behind the engines");

  Params caps(dialect, "NV2080_CTRL_CE_GET_ALL_CAPS_PARAMS");
  session.Control(kSubdevice, "NV2080_CTRL_CMD_CE_GET_ALL_CAPS", caps);
  const uint32_t present = caps.Get("present");
  Say("copy engines", std::popcount(present));
  for (uint32_t ce = 0; ce < kCopyEnginesMax; ++ce) {
    const bool is_there = types.contains(kEngineCopy0 + ce);
    Law(is_there == ((present >> ce & 1) != 0), "copy engine %u is there and is not", ce);
    Law(is_there == (caps.Get<uint8_t>("capsTbl", 2 * ce) != 0),
        "copy engine %u has capabilities and has not", ce);
  }
  Law(caps.IsZeroFrom(caps.OffsetOf("present") + 4), "copy engines from 32 on are present");

  Params atomics(dialect, "NV2080_CTRL_CMD_BUS_GET_PCIE_SUPPORTED_GPU_ATOMICS_PARAMS");
  session.Control(kSubdevice, "NV2080_CTRL_CMD_BUS_GET_PCIE_SUPPORTED_GPU_ATOMICS", atomics);
  Law(atomics.IsZeroFrom(atomics.OffsetOf("atomicOp")), "PCIe routes atomic operations");

  const std::vector<uint32_t> classes = ClassList(session);
  Say("classes", classes.size());
  Law(std::set(classes.begin(), classes.end()).size() == classes.size(), "a class is named twice");
}

}  // namespace

std::vector<uint32_t> ClassList(const Session& session) {
  Params params(session.dialect(), "NV0080_CTRL_GPU_GET_CLASSLIST_V2_PARAMS");
  session.Control(kDevice, "NV0080_CTRL_CMD_GPU_GET_CLASSLIST_V2", params);
  std::vector<uint32_t> classes(params.Get("numClasses"));
  for (size_t i = 0; i < classes.size(); ++i)
    classes[i] = params.Get("classList", static_cast<uint32_t>(4 * i));
  Law(params.IsZeroFrom(static_cast<uint32_t>(params.OffsetOf("classList") + 4 * classes.size())),
      "there is something behind the classes");
  return classes;
}

std::vector<uint8_t> Uuid(const Session& session) {
  constexpr uint32_t kBinary = 2;  // NV2080_GPU_CMD_GPU_GET_GID_FLAGS_FORMAT_BINARY
  Params gid(session.dialect(), "NV2080_CTRL_GPU_GET_GID_INFO_PARAMS");
  gid.Set("flags", kBinary);
  session.Control(kSubdevice, "NV2080_CTRL_CMD_GPU_GET_GID_INFO", gid);
  std::vector<uint8_t> uuid(gid.Get("length"));
  Law(uuid.size() == 16, "the UUID has %zu bytes", uuid.size());
  for (uint32_t i = 0; i < uuid.size(); ++i) uuid[i] = gid.Get<uint8_t>("data", i);
  return uuid;
}

void CheckAnswers(const Session& session, const std::string& version) {
  CheckBuildVersion(session, version);
  CheckGpuIds(session);
  CheckIdentity(session);
  CheckLists(session);
  CheckShaders(session);
  CheckEngines(session);
}

}  // namespace nvshim::rm_client
