// Every bound of the core, with its reason. A guest that reaches one gets the driver's own answer for a
// shortage and costs nobody else anything.
#ifndef BROKER_CORE_LIMITS_H_
#define BROKER_CORE_LIMITS_H_

#include <cstddef>
#include <cstdint>

#include "proto/wire/region.h"

namespace nvshim::broker {

// A data-loader heavy training job forks a few hundred workers that touch the GPU.
inline constexpr uint32_t kProcessesPerGuestMax = 1024;

// A context opens about 40 files and closes most of them again; 100 processes of that kind fit.
inline constexpr uint32_t kFilesPerGuestMax = 4096;

// libcuda makes two or three clients per process, nvidia-smi one.
inline constexpr uint32_t kClientsPerGuestMax = 4096;

// A CUDA context makes about a thousand objects; 100 of them and room. Bounds the table at some 10 MB per
// guest.
inline constexpr uint32_t kObjectsPerGuestMax = 1u << 17;

// What a lane keeps of a call's bytes for the next one. Nearly all calls are smaller; larger ones allocate.
inline constexpr size_t kKeptBytesPerLaneMax = 4096;

// Distinct refused numbers that are remembered for logging once; a guest that invents more is only counted.
inline constexpr uint32_t kNotedRefusalsPerGuestMax = 256;

static_assert(kFilesPerGuestMax <= 1u << 12, "FileId keeps the index in 12 bits");

}  // namespace nvshim::broker

#endif  // BROKER_CORE_LIMITS_H_
