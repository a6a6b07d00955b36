// Memory made on the heap and as an object of its class, in video memory and in system memory.
#include <sys/mman.h>

#include "testing/rm_client/laws.h"
#include "testing/rm_client/mapping.h"

namespace nvshim::rm_client {
namespace {

using victim::Law;

constexpr uint64_t kSize = 1 << 20;

// What one mapping writes, the next one reads.
void CheckMappings(const Session& session, uint32_t object, const char* path) {
  {
    Mapping writer(session, object, path, kSize, PROT_READ | PROT_WRITE);
    for (uint64_t i = 0; i < kSize; ++i) writer.bytes()[i] = static_cast<uint8_t>(i * 31 + object);
  }
  Mapping reader(session, object, path, kSize, PROT_READ);
  for (uint64_t i = 0; i < kSize; ++i)
    Law(reader.bytes()[i] == static_cast<uint8_t>(i * 31 + object), "object 0x%x lost byte %llu", object,
        static_cast<unsigned long long>(i));
}

}  // namespace

void CheckMemory(const Session& session) {
  constexpr uint32_t kVideoByHeap = 0x5c000020, kSystemByHeap = 0x5c000021, kVideoByClass = 0x5c000022,
                     kSystemByClass = 0x5c000023;
  AllocHeap(session, kVideoByHeap, 0, kSize);
  AllocHeap(session, kSystemByHeap, kSystemMemory, kSize);
  const struct {
    uint32_t object;
    const char* class_name;
    uint32_t attr;
  } by_class[] = {{kVideoByClass, "NV01_MEMORY_LOCAL_USER", 0},
                  {kSystemByClass, "NV01_MEMORY_SYSTEM", kSystemMemory}};
  for (const auto& [object, class_name, attr] : by_class) {
    Params params(session.dialect(), "NV_MEMORY_ALLOCATION_PARAMS");
    params.Set("attr", attr).Set("size", kSize);
    session.Alloc(kDevice, object, class_name, &params);
    Law(params.Get<uint64_t>("size") == kSize && params.Get<uint64_t>("limit") == kSize - 1,
        "%s has another size than was asked for", class_name);
  }
  for (const uint32_t object : {kVideoByHeap, kVideoByClass}) CheckMappings(session, object, victim::kGpu0);
  for (const uint32_t object : {kSystemByHeap, kSystemByClass}) CheckMappings(session, object, victim::kCtl);
  for (const uint32_t object : {kVideoByHeap, kSystemByHeap, kVideoByClass, kSystemByClass})
    session.Free(object);
}

}  // namespace nvshim::rm_client
