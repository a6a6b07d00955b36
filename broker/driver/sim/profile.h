// What one GPU model is: the facts that NVIDIA's clients can read, as plain data. Four models; values are
// those that real boards show in nvidia-smi and deviceQuery. Nothing here changes at run time.
#ifndef BROKER_DRIVER_SIM_PROFILE_H_
#define BROKER_DRIVER_SIM_PROFILE_H_

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace nvshim::broker::sim {

enum class Chip : uint8_t { kGA100, kGH100, kAD102 };

struct Profile {
  std::string_view key;         // "a100"
  std::string_view name;        // "NVIDIA A100-SXM4-40GB"
  std::string_view short_name;  // NV2080_CTRL_CMD_GPU_GET_SHORT_NAME_STRING
  Chip chip;

  // NV2080_CTRL_CMD_MC_GET_ARCH_INFO
  uint32_t architecture;
  uint32_t implementation;
  uint32_t revision;

  uint16_t pci_device_id;
  uint32_t pci_subsystem_id;  // subsystem device << 16 | vendor
  uint8_t pci_revision;
  uint32_t pcie_gen;
  uint32_t pcie_width;

  uint32_t ram_mib;       // what nvidia-smi prints as total
  uint32_t reserved_mib;  // of it, never in the heap: firmware, page tables, ECC
  uint32_t ram_type;      // NV2080_CTRL_FB_INFO_RAM_TYPE_*
  uint32_t bus_width_bits;
  uint32_t partitions;  // memory partitions (FBPs)
  uint32_t l2_bytes;
  uint64_t bar0_bytes;
  uint64_t bar1_bytes;

  uint32_t sm_version;                    // 0x800 = 8.0
  std::span<const uint8_t> tpcs_per_gpc;  // two SMs in a TPC
  uint32_t gpcs_max;                      // of the full chip
  uint32_t tpcs_per_gpc_max;
  uint32_t warps_per_sm;
  uint32_t cores_per_sm;
  uint32_t tensor_cores_per_sm;
  uint32_t rt_cores_per_sm;

  uint32_t graphics_clock_mhz;  // boost
  uint32_t memory_clock_mhz;
  uint32_t copy_engines;  // in use: two of them belong to the graphics engine, libcuda counts the others
  uint32_t nvdecs, nvencs, nvjpegs, ofas;

  uint32_t idle_celsius;  // what the sensors of an idle board show
  uint32_t idle_milliwatts;

  bool ecc;              // on and counted; every board has it
  uint32_t remap_banks;  // memory banks with spare rows
  bool display;          // has display heads
  uint32_t brands;       // NV0080_CTRL_GPU_GET_BRAND_CAPS_*

  uint32_t tpcs() const;
  uint32_t sms() const { return 2 * tpcs(); }
  uint64_t heap_bytes() const { return uint64_t{ram_mib - reserved_mib} << 20; }
};

// Null when `key` is not a profile.
const Profile* FindProfile(std::string_view key);
std::span<const Profile> Profiles();
std::string ProfileKeys();  // "a100, h100, ..." for messages

// The classes that RM lists for the chip, in its order, without repeats.
std::span<const uint32_t> ClassList(Chip chip);

// One GPU of the simulated machine.
struct Gpu {
  const Profile* profile;
  uint32_t minor;
  uint32_t gpu_id;     // bus << 8 | slot, as RM derives it
  std::string bus_id;  // "0000:01:00.0"
  std::array<uint8_t, 16> uuid;

  uint32_t bus() const { return gpu_id >> 8; }
  std::string UuidText() const;  // "GPU-..."
};

// GPU `minor` of a machine of `profile` boards; the same arguments give the same uuid in every run.
Gpu MakeGpu(const Profile& profile, uint32_t minor);

}  // namespace nvshim::broker::sim

#endif  // BROKER_DRIVER_SIM_PROFILE_H_
