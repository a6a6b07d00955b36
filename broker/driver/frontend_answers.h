// Escapes that a driver answers without asking anybody: their answer is the same for all guests, or the
// kernel module's own would be one guest's business with the whole machine. Layouts: nv-ioctl.h,
// nv-ioctl-numa.h; `params` is the whole struct.
#ifndef BROKER_DRIVER_FRONTEND_ANSWERS_H_
#define BROKER_DRIVER_FRONTEND_ANSWERS_H_

#include <cstdint>
#include <span>
#include <string_view>

namespace nvshim::broker {

// NV_ESC_CHECK_VERSION_STR, nv_ioctl_rm_api_version_t: compares the caller's version with `version` as its
// cmd says (strict, up to the first dot, not at all) and puts the latter in its place. Returns 0 or EINVAL,
// and the struct goes back in both cases: clients print the two. The kernel module would also write a line to
// the machine's log for each mismatch.
int CheckVersionStr(std::string_view version, std::span<uint8_t> params);

// NV_ESC_NUMA_INFO, nv_ioctl_numa_info_t: the GPU's memory is no NUMA node.
void NumaInfo(uint64_t memblock_size_bytes, std::span<uint8_t> params);

}  // namespace nvshim::broker

#endif  // BROKER_DRIVER_FRONTEND_ANSWERS_H_
