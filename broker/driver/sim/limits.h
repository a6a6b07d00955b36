// How far a caller may grow the simulated driver. The real driver has few such limits and relies on the
// broker's quotas; the simulated one must survive without them.
#ifndef BROKER_DRIVER_SIM_LIMITS_H_
#define BROKER_DRIVER_SIM_LIMITS_H_

#include <cstddef>
#include <cstdint>

namespace nvshim::broker::sim {

// Open files. A libcuda process with a context holds about 60; one per mapping comes and goes.
inline constexpr size_t kFilesMax = 65536;
// RM clients. The real table has room for 2^20; a process uses two or three.
inline constexpr size_t kClientsMax = 16384;
// Objects of one client. libcuda's default context has about 250; the real driver warns at 100000.
inline constexpr size_t kObjectsPerClientMax = 65536;
// Objects of all clients together: about 300 bytes each, so 256 MiB at worst.
inline constexpr size_t kObjectsMax = 1u << 20;
// Objects inside of files, of all clients together: RM numbers them from 1 to 0x7ffff.
inline constexpr size_t kExportedObjectsMax = 0x7ffff;
// Backing files (memfds) alive at once: each costs a descriptor of the broker, whose RLIMIT_NOFILE is 65536
// or more.
inline constexpr size_t kBackingsMax = 32768;
// Pieces of those that the engine has mapped at once. The kernel allows a process 65530 mappings
// (vm.max_map_count), and the worker must keep some for its own memory.
inline constexpr size_t kWindowsMax = 32768;
// Keys of live CPU mappings of one memory object; real programs map an object once or twice.
inline constexpr size_t kMappingsPerObjectMax = 64;
// Mappings by NV_ESC_RM_MAP_MEMORY_DMA of one object: each costs a search when it is undone.
inline constexpr size_t kDmaMappingsPerObjectMax = 1024;
// One system-memory or virtual object: a sparse memfd costs nothing until touched, but its size must stay
// sane.
inline constexpr uint64_t kObjectBytesMax = 1ull << 46;
// Ranges, range groups and registered GPUs of one UVM file. A default context has about 80 ranges.
inline constexpr size_t kUvmEntriesMax = 65536;
// OS events alive at once: one per event file.
inline constexpr size_t kOsEventsMax = kFilesMax;
// Event objects of one client, since each interrupt looks at all of them. A context has about 10.
inline constexpr size_t kListenersPerClientMax = 1024;
// Channels alive at once, of all guests of one driver. A default context has 32; the real GPU has 2048 per
// runlist.
inline constexpr size_t kChannelsMax = 16384;
// Channels that stopped, until they are only stopped and no longer logged.
inline constexpr size_t kFaultsToldMax = 1024;
// Distinct unknown numbers remembered so that each is logged once; further ones are counted only.
inline constexpr size_t kUnknownNumbersMax = 1024;
// GPUs of one simulated machine; NV0000_CTRL_GPU_MAX_ATTACHED_GPUS is 32.
inline constexpr uint32_t kGpusMax = 8;

}  // namespace nvshim::broker::sim

#endif  // BROKER_DRIVER_SIM_LIMITS_H_
