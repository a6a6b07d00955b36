// NV2080 commands about the GPU as a board: name, identity, PCI, engines, ECC, clocks of its timer.
#include <time.h>

#include <algorithm>

#include "broker/driver/sim/controls.h"

namespace nvshim::broker::sim {
namespace {

// NV2080_ENGINE_TYPE_*
constexpr uint32_t kGr0 = 0x01, kCopy0 = 0x09, kNvdec0 = 0x13, kNvenc0 = 0x1b, kSw = 0x22, kSec2 = 0x26,
                   kNvjpeg0 = 0x2b, kOfa = 0x33;

template <typename F>
void ForEachEngine(const Profile& profile, F&& engine) {
  engine(kGr0);
  for (uint32_t i = 0; i < profile.copy_engines; ++i) engine(kCopy0 + i);
  for (uint32_t i = 0; i < profile.nvdecs; ++i) engine(kNvdec0 + i);
  for (uint32_t i = 0; i < profile.nvencs; ++i) engine(kNvenc0 + i);
  engine(kSw);
  engine(kSec2);
  for (uint32_t i = 0; i < profile.nvjpegs; ++i) engine(kNvjpeg0 + i);
  for (uint32_t i = 0; i < profile.ofas; ++i) engine(kOfa + i);
}

uint64_t NowNs(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return uint64_t{1'000'000'000} * static_cast<uint64_t>(now.tv_sec) + static_cast<uint64_t>(now.tv_nsec);
}

}  // namespace

NvStatus GpuGetNameString(ControlContext& context) {
  const std::string_view name = context.profile().name;
  if (context.params.U32(0) == 0) {  // NV2080_CTRL_GPU_GET_NAME_STRING_FLAGS_TYPE_ASCII
    context.params.PutString(4, 64, name);
    return NV_OK;
  }
  // Drivers from 595 on have no room for the name in UTF-16.
  if (!context.params.Has(4, 128)) return NV_ERR_INVALID_ARGUMENT;
  context.params.Sub(4).Fill(0);
  for (size_t i = 0; i < name.size() && i < 63; ++i)
    context.params.PutU16(4 + 2 * i, static_cast<uint8_t>(name[i]));
  return NV_OK;
}

NvStatus GpuGetShortNameString(ControlContext& context) {
  context.params.PutString(0, 64, context.profile().short_name);
  return NV_OK;
}

NvStatus GpuGetGidInfo(ControlContext& context) {
  // {index, flags, length, data[256]}; FORMAT in bits 1:0 of flags: 0 text, 2 raw
  if (context.params.U32(0) != 0) return NV_ERR_INVALID_ARGUMENT;
  context.params.Sub(12).Fill(0);
  if ((context.params.U32(4) & 3) == 2) {
    context.params.PutBytes(12, context.gpu().uuid);
    context.params.PutU32(8, static_cast<uint32_t>(context.gpu().uuid.size()));
    return NV_OK;
  }
  const std::string text = context.gpu().UuidText();
  context.params.PutString(12, 256, text);
  context.params.PutU32(8, static_cast<uint32_t>(text.size() + 1));
  return NV_OK;
}

NvStatus GpuGetId(ControlContext& context) {
  context.params.PutU32(0, context.gpu().gpu_id);
  return NV_OK;
}

NvStatus GpuGetEngines(ControlContext& context) {
  uint32_t count = 0;
  ForEachEngine(context.profile(), [&count](uint32_t) { ++count; });
  Bytes list = context.Child(8);
  if (!list.empty()) {
    if (context.params.U32(0) < count) return NV_ERR_INVALID_ARGUMENT;
    uint32_t i = 0;
    ForEachEngine(context.profile(), [&](uint32_t engine) { list.PutU32(4 * i++, engine); });
  }
  context.params.PutU32(0, count);
  return NV_OK;
}

NvStatus GpuGetEnginesV2(ControlContext& context) {
  // {engineCount, engineList[]}
  uint32_t count = 0;
  context.params.Fill(0);
  ForEachEngine(context.profile(), [&](uint32_t engine) {
    if (context.params.Has(4 + 4 * count, 4)) context.params.PutU32(4 + 4 * count++, engine);
  });
  context.params.PutU32(0, count);
  return NV_OK;
}

NvStatus GpuQueryEccStatus(ControlContext& context) {
  // {units[], bFatalPoisonError, uncorrectableError, flags, grRouteInfo}
  constexpr size_t kUnitBytes = 40;
  const Layout& layout = context.layout();
  // Units that data-centre boards protect (NV2080_CTRL_GPU_ECC_UNIT_*): FBPA 0, L2 1, L1 2, SM 3, SHM 5, TEX
  // 6, GR 10.
  constexpr uint64_t kProtected = 1u << 0 | 1u << 1 | 1u << 2 | 1u << 3;
  context.params.Sub(0, layout.ecc_flags).Fill(0);
  for (size_t unit = 0; unit < layout.ecc_fatal_poison_error / kUnitBytes; ++unit) {
    const bool has = (kProtected >> unit & 1) != 0, on = has && context.profile().ecc;
    context.params.PutU8(unit * kUnitBytes + 0, on);   // enabled
    context.params.PutU8(unit * kUnitBytes + 1, on);   // scrubComplete
    context.params.PutU8(unit * kUnitBytes + 2, has);  // supported
  }
  return NV_OK;
}

NvStatus GpuQueryEccConfiguration(ControlContext& context) {
  // NV2080_CTRL_GPU_ECC_CONFIGURATION_DISABLED 0, _ENABLED 1
  context.params.PutU32(0, context.profile().ecc);  // currentConfiguration
  context.params.PutU32(4, context.profile().ecc);  // defaultConfiguration
  return NV_OK;
}

NvStatus ZeroWithEcc(ControlContext& context) {
  if (!context.profile().ecc) return NV_ERR_NOT_SUPPORTED;
  context.params.Fill(0);
  return NV_OK;
}

NvStatus FbGetRowRemapperHistogram(ControlContext& context) {
  if (!context.profile().ecc) return NV_ERR_NOT_SUPPORTED;
  context.params.Fill(0);
  context.params.PutU32(0, context.profile().remap_banks);  // banks without a remapped row
  return NV_OK;
}

NvStatus GpuGetInforomObjectVersion(ControlContext& context) {
  // {objectType[3], version, subversion}
  const auto type = context.params.Sub(0, 3).span();
  const std::string_view name(reinterpret_cast<const char*>(type.data()), type.size());
  struct Version {
    std::string_view type;
    uint8_t major, minor;
  };
  constexpr Version kVersions[] = {{"OEM", 2, 1}, {"ECC", 6, 16}, {"IMG", 0, 0}};
  for (const Version& version : kVersions) {
    if (name != version.type) continue;
    context.params.PutU8(3, version.major);
    context.params.PutU8(4, version.minor);
    return NV_OK;
  }
  return NV_ERR_NOT_SUPPORTED;
}

NvStatus GpuGetOemBoardInfo(ControlContext& context) {
  context.params.Fill(0);
  context.params.PutString(4, 24, context.profile().name.substr(7));  // marketingName, without "NVIDIA "
  context.params.PutString(28, 16, "0000000000000");  // serialNumber: shows that no board is behind it
  return NV_OK;
}

NvStatus TimerGetTime(ControlContext& context) {
  context.params.PutU64(0, NowNs(CLOCK_REALTIME));
  return NV_OK;
}

NvStatus TimerGetGpuCpuTimeCorrelationInfo(ControlContext& context) {
  // {cpuClkId, sampleCount, samples[16]{cpuTime, gpuTime}}; OSTIME counts microseconds, the GPU's timer
  // nanoseconds
  constexpr uint32_t kSamples = 16;
  const uint32_t count = std::min<uint32_t>(context.params.Get<uint8_t>(1), kSamples);
  for (uint32_t i = 0; i < count; ++i) {
    const uint64_t now = NowNs(CLOCK_REALTIME);
    context.params.PutU64(8 + 16 * i, now / 1000);
    context.params.PutU64(16 + 16 * i, now);
  }
  return NV_OK;
}

NvStatus McGetArchInfo(ControlContext& context) {
  context.params.Fill(0);
  context.params.PutU32(0, context.profile().architecture);
  context.params.PutU32(4, context.profile().implementation);
  context.params.PutU32(8, context.profile().revision);
  return NV_OK;
}

NvStatus BusGetPciInfo(ControlContext& context) {
  const Profile& profile = context.profile();
  context.params.PutU32(0, uint32_t{profile.pci_device_id} << 16 | 0x10de);
  context.params.PutU32(4, profile.pci_subsystem_id);
  context.params.PutU32(8, profile.pci_revision);
  context.params.PutU32(12, profile.pci_device_id);  // pciExtDeviceId
  return NV_OK;
}

NvStatus BusGetPciBarInfo(ControlContext& context) {
  // {pciBarCount, pciBarInfo[8]{flags, barSize in MiB, barSizeBytes, barOffset}}
  const uint64_t sizes[] = {context.profile().bar0_bytes, context.profile().bar1_bytes, 32u << 20};
  context.params.Fill(0);
  context.params.PutU32(0, std::size(sizes));
  for (size_t i = 0; i < std::size(sizes); ++i) {
    context.params.PutU32(8 + 24 * i + 4, static_cast<uint32_t>(sizes[i] >> 20));
    context.params.PutU64(8 + 24 * i + 8, sizes[i]);
  }
  return NV_OK;
}

NvStatus BusGetPcieSupportedGpuAtomics(ControlContext& context) {
  // What ends the struct are 13 operations {bSupported, attributes}, none supported: a PCIe root port need
  // not route them. Newer drivers are asked with what is before it.
  constexpr size_t kOperationsBytes = 13 * 8;
  context.params.Sub(context.params.size() - kOperationsBytes).Fill(0);
  return NV_OK;
}

NvStatus CeGetAllCaps(ControlContext& context) {
  // {capsTbl[][2], present}; byte 0: SYSMEM_READ 4, SYSMEM_WRITE 8, SYSMEM 20, P2P 40; GRCE 1 on the first
  // two
  context.params.Fill(0);
  for (uint32_t ce = 0; ce < context.profile().copy_engines; ++ce)
    context.params.PutU8(2 * ce, ce < 2 ? 0x6d : 0x6c);
  context.params.PutU32(context.layout().ce_caps_present, (1u << context.profile().copy_engines) - 1);
  return NV_OK;
}

NvStatus CeGetCePceMask(ControlContext& context) {
  const uint32_t engine = context.params.U32(0);
  if (engine < kCopy0 || engine >= kCopy0 + context.profile().copy_engines) return NV_ERR_INVALID_ARGUMENT;
  context.params.PutU32(4, 1u << (engine - kCopy0));
  return NV_OK;
}

NvStatus GspGetFeatures(ControlContext& context) {
  // {gspFeatures, bValid, bDefaultGspRmGpu, firmwareVersion[64]}
  context.params.Fill(0);
  context.params.PutU32(0,
                        1);  // NV2080_CTRL_GSP_GET_FEATURES_UVM_ENABLED: without it libcuda leaves UVM alone
  context.params.PutU8(4, 1);
  context.params.PutU8(5, 1);
  context.params.PutString(6, 64, context.machine().version());
  return NV_OK;
}

}  // namespace nvshim::broker::sim
