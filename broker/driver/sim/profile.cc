// The four profiles. PCI ids and names are those of NVIDIA's list of released boards; clocks, memory and SM
// counts those of the data sheets and of what the tools print for the boards.
#include "broker/driver/sim/profile.h"

#include <cstdio>
#include <numeric>

namespace nvshim::broker::sim {
namespace {

// Shipping boards have some TPCs fused off; which ones differs from board to board, the sums do not.
constexpr uint8_t kTpcsA100[] = {8, 8, 8, 8, 8, 7, 7};                 // 54 TPCs, 108 SMs
constexpr uint8_t kTpcsHopper[] = {9, 9, 8, 8, 8, 8, 8, 8};            // 66 TPCs, 132 SMs
constexpr uint8_t kTpcsRtx4090[] = {6, 6, 6, 6, 6, 6, 6, 6, 6, 5, 5};  // 64 TPCs, 128 SMs

constexpr uint32_t kRamTypeHbm2 = 0x0f, kRamTypeGddr6x = 0x12, kRamTypeHbm3 = 0x14;
constexpr uint64_t kMiB = 1 << 20;

constexpr Profile kProfiles[] = {
    {.key = "a100",
     .name = "NVIDIA A100-SXM4-40GB",
     .short_name = "GA100",
     .chip = Chip::kGA100,
     .architecture = 0x170,
     .implementation = 0,
     .revision = 0xa1,
     .pci_device_id = 0x20b0,
     .pci_subsystem_id = 0x134f10de,
     .pci_revision = 0xa1,
     .pcie_gen = 4,
     .pcie_width = 16,
     .ram_mib = 40960,
     .reserved_mib = 424,
     .ram_type = kRamTypeHbm2,
     .bus_width_bits = 5120,
     .partitions = 10,
     .l2_bytes = 40 << 20,
     .bar0_bytes = 16 * kMiB,
     .bar1_bytes = 65536 * kMiB,
     .sm_version = 0x800,
     .tpcs_per_gpc = kTpcsA100,
     .gpcs_max = 8,
     .tpcs_per_gpc_max = 8,
     .warps_per_sm = 64,
     .cores_per_sm = 64,
     .tensor_cores_per_sm = 4,
     .rt_cores_per_sm = 0,
     .graphics_clock_mhz = 1410,
     .memory_clock_mhz = 1215,
     .copy_engines = 5,
     .nvdecs = 5,
     .nvencs = 0,
     .nvjpegs = 1,
     .ofas = 1,
     .idle_celsius = 31,
     .idle_milliwatts = 52000,
     .ecc = true,
     .remap_banks = 640,
     .display = false,
     .brands = 0},
    {.key = "h100",
     .name = "NVIDIA H100 80GB HBM3",
     .short_name = "GH100",
     .chip = Chip::kGH100,
     .architecture = 0x180,
     .implementation = 0,
     .revision = 0xa1,
     .pci_device_id = 0x2330,
     .pci_subsystem_id = 0x16c110de,
     .pci_revision = 0xa1,
     .pcie_gen = 5,
     .pcie_width = 16,
     .ram_mib = 81559,
     .reserved_mib = 551,
     .ram_type = kRamTypeHbm3,
     .bus_width_bits = 5120,
     .partitions = 10,
     .l2_bytes = 50 << 20,
     .bar0_bytes = 16 * kMiB,
     .bar1_bytes = 131072 * kMiB,
     .sm_version = 0x900,
     .tpcs_per_gpc = kTpcsHopper,
     .gpcs_max = 8,
     .tpcs_per_gpc_max = 9,
     .warps_per_sm = 64,
     .cores_per_sm = 128,
     .tensor_cores_per_sm = 4,
     .rt_cores_per_sm = 0,
     .graphics_clock_mhz = 1980,
     .memory_clock_mhz = 2619,
     .copy_engines = 5,
     .nvdecs = 7,
     .nvencs = 0,
     .nvjpegs = 7,
     .ofas = 1,
     .idle_celsius = 30,
     .idle_milliwatts = 70000,
     .ecc = true,
     .remap_banks = 2560,
     .display = false,
     .brands = 0},
    {.key = "h200",
     .name = "NVIDIA H200",
     .short_name = "GH100",
     .chip = Chip::kGH100,
     .architecture = 0x180,
     .implementation = 0,
     .revision = 0xa1,
     .pci_device_id = 0x2335,
     .pci_subsystem_id = 0x18be10de,
     .pci_revision = 0xa1,
     .pcie_gen = 5,
     .pcie_width = 16,
     .ram_mib = 143771,
     .reserved_mib = 617,
     .ram_type = kRamTypeHbm3,
     .bus_width_bits = 6144,
     .partitions = 12,
     .l2_bytes = 50 << 20,
     .bar0_bytes = 16 * kMiB,
     .bar1_bytes = 262144 * kMiB,
     .sm_version = 0x900,
     .tpcs_per_gpc = kTpcsHopper,
     .gpcs_max = 8,
     .tpcs_per_gpc_max = 9,
     .warps_per_sm = 64,
     .cores_per_sm = 128,
     .tensor_cores_per_sm = 4,
     .rt_cores_per_sm = 0,
     .graphics_clock_mhz = 1980,
     .memory_clock_mhz = 3201,
     .copy_engines = 5,
     .nvdecs = 7,
     .nvencs = 0,
     .nvjpegs = 7,
     .ofas = 1,
     .idle_celsius = 30,
     .idle_milliwatts = 76000,
     .ecc = true,
     .remap_banks = 3072,
     .display = false,
     .brands = 0},
    {.key = "rtx4090",
     .name = "NVIDIA GeForce RTX 4090",
     .short_name = "AD102",
     .chip = Chip::kAD102,
     .architecture = 0x190,
     .implementation = 2,
     .revision = 0xa1,
     .pci_device_id = 0x2684,
     .pci_subsystem_id = 0x167c10de,
     .pci_revision = 0xa1,
     .pcie_gen = 4,
     .pcie_width = 16,
     .ram_mib = 24564,
     .reserved_mib = 346,
     .ram_type = kRamTypeGddr6x,
     .bus_width_bits = 384,
     .partitions = 6,
     .l2_bytes = 72 << 20,
     .bar0_bytes = 16 * kMiB,
     .bar1_bytes = 32768 * kMiB,
     .sm_version = 0x809,
     .tpcs_per_gpc = kTpcsRtx4090,
     .gpcs_max = 12,
     .tpcs_per_gpc_max = 6,
     .warps_per_sm = 48,
     .cores_per_sm = 128,
     .tensor_cores_per_sm = 4,
     .rt_cores_per_sm = 1,
     .graphics_clock_mhz = 2520,
     .memory_clock_mhz = 10501,
     .copy_engines = 4,
     .nvdecs = 1,
     .nvencs = 2,
     .nvjpegs = 0,
     .ofas = 1,
     .idle_celsius = 34,
     .idle_milliwatts = 15000,
     .ecc = false,
     .remap_banks = 0,
     .display = true,
     .brands = 0},
};

// FNV-1a with the finisher of splitmix64: a fixed, well-spread function of the text; nothing secret hangs on
// it.
uint64_t Hash(std::string_view text, uint64_t hash) {
  for (char c : text) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3;
  hash = (hash ^ (hash >> 30)) * 0xbf58476d1ce4e5b9;
  hash = (hash ^ (hash >> 27)) * 0x94d049bb133111eb;
  return hash ^ (hash >> 31);
}

}  // namespace

uint32_t Profile::tpcs() const { return std::accumulate(tpcs_per_gpc.begin(), tpcs_per_gpc.end(), 0u); }

std::span<const Profile> Profiles() { return kProfiles; }

const Profile* FindProfile(std::string_view key) {
  for (const Profile& profile : kProfiles)
    if (profile.key == key) return &profile;
  return nullptr;
}

std::string ProfileKeys() {
  std::string keys;
  for (const Profile& profile : kProfiles) {
    if (!keys.empty()) keys += ", ";
    keys += profile.key;
  }
  return keys;
}

std::string Gpu::UuidText() const {
  char text[48];
  const auto& u = uuid;
  std::snprintf(text, sizeof(text),
                "GPU-%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", u[0], u[1], u[2],
                u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12], u[13], u[14], u[15]);
  return text;
}

Gpu MakeGpu(const Profile& profile, uint32_t minor) {
  Gpu gpu{.profile = &profile, .minor = minor, .gpu_id = (minor + 1) << 8, .bus_id = {}, .uuid = {}};
  char bus_id[16];
  std::snprintf(bus_id, sizeof(bus_id), "0000:%02x:00.0", gpu.bus() & 0xff);
  gpu.bus_id = bus_id;
  const std::string seed = std::string(profile.key) + "/" + std::to_string(minor);
  const uint64_t halves[] = {Hash(seed, 0xcbf29ce484222325), Hash(seed, 0x9ae16a3b2f90404f)};
  for (size_t i = 0; i < gpu.uuid.size(); ++i)
    gpu.uuid[i] = static_cast<uint8_t>(halves[i / 8] >> (8 * (i % 8)));
  gpu.uuid[6] =
      (gpu.uuid[6] & 0x0f) | 0x40;  // the version and variant bits of a random UUID, as real ones carry
  gpu.uuid[8] = (gpu.uuid[8] & 0x3f) | 0x80;
  return gpu;
}

}  // namespace nvshim::broker::sim
