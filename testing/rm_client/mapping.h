// Memory of the driver's, mapped into the program through a device file of its own, as libcuda does it.
#ifndef TESTING_RM_CLIENT_MAPPING_H_
#define TESTING_RM_CLIENT_MAPPING_H_

#include <cstdint>

#include "testing/rm_client/session.h"

namespace nvshim::rm_client {

inline constexpr uint32_t kSystemMemory = 1u << 25;  // NVOS32_ATTR_LOCATION_PCI

class Mapping {
 public:
  // Maps `length` bytes of the object through a new file of `path`; the law is that it works.
  Mapping(const Session& session, uint32_t object, const char* path, uint64_t length, int protection);
  ~Mapping();
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  uint8_t* bytes() { return bytes_; }

 private:
  uint32_t Unmap() const;

  const Session& session_;
  const uint32_t object_;
  const uint64_t length_;
  uint64_t address_;  // as the driver names the mapping
  uint8_t* bytes_;
};

// Memory of `size_bytes` by NV_ESC_RM_VID_HEAP_CONTROL, where `attr` says.
void AllocHeap(const Session& session, uint32_t object, uint32_t attr, uint64_t size_bytes);

}  // namespace nvshim::rm_client

#endif  // TESTING_RM_CLIENT_MAPPING_H_
