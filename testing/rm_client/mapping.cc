#include "testing/rm_client/mapping.h"

#include <sys/mman.h>

namespace nvshim::rm_client {

using victim::Law;

Mapping::Mapping(const Session& session, uint32_t object, const char* path, uint64_t length, int protection)
    : session_(session), object_(object), length_(length) {
  const int file = victim::Open(path);
  Params map(session.dialect(), "nv_ioctl_nvos33_parameters_with_fd");
  map.Set("params.hClient", session.client())
      .Set("params.hDevice", kDevice)
      .Set("params.hMemory", object)
      .Set("params.length", length)
      .Set("fd", file);
  const uint32_t status = session.Escape(session.ctl(), "NV_ESC_RM_MAP_MEMORY", map);
  Law(status == 0, "object 0x%x cannot be mapped: status 0x%x", object, status);
  address_ = map.Get<uint64_t>("params.pLinearAddress");
  void* bytes = mmap(nullptr, length, protection, MAP_SHARED, file, 0);
  Law(bytes != MAP_FAILED, "mmap of object 0x%x through %s fails", object, path);
  bytes_ = static_cast<uint8_t*>(bytes);
  close(file);
}

Mapping::~Mapping() {
  munmap(bytes_, length_);
  const uint32_t status = Unmap();
  Law(status == 0, "object 0x%x cannot be unmapped: status 0x%x", object_, status);
  Law(Unmap() != 0, "object 0x%x can be unmapped again", object_);
}

uint32_t Mapping::Unmap() const {
  Params unmap(session_.dialect(), "NVOS34_PARAMETERS");
  unmap.Set("hClient", session_.client())
      .Set("hDevice", kDevice)
      .Set("hMemory", object_)
      .Set("pLinearAddress", address_);
  return session_.Escape(session_.ctl(), "NV_ESC_RM_UNMAP_MEMORY", unmap);
}

void AllocHeap(const Session& session, uint32_t object, uint32_t attr, uint64_t size_bytes) {
  constexpr uint32_t kAllocSize = 2;  // NVOS32_FUNCTION_ALLOC_SIZE
  // Below no device first, which fails.
  for (const uint32_t device : {kNothing, kDevice}) {
    Params params(session.dialect(), "NVOS32_PARAMETERS");
    params.Set("hRoot", session.client())
        .Set("hObjectParent", device)
        .Set("function", kAllocSize)
        .Set("data.AllocSize.hMemory", object)
        .Set("data.AllocSize.attr", attr)
        .Set("data.AllocSize.size", size_bytes);
    const uint32_t status = session.Escape(session.ctl(), "NV_ESC_RM_VID_HEAP_CONTROL", params);
    Law((status == 0) == (device == kDevice), "the heap of 0x%x answers status 0x%x", device, status);
    if (status != 0) continue;
    Law(params.Get<uint64_t>("data.AllocSize.size") == size_bytes &&
            params.Get<uint64_t>("data.AllocSize.limit") == size_bytes - 1,
        "the heap gives another size than was asked for");
  }
}

}  // namespace nvshim::rm_client
