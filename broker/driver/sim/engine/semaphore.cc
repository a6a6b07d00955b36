// The payload must be naturally aligned, as the hardware demands; then it lies inside one page and one piece.
#include "broker/driver/sim/engine/semaphore.h"

namespace nvshim::broker::sim::engine {
namespace {

template <typename T>
T* Locate(Host& host, uint64_t address) {
  if (address % sizeof(T) != 0) return nullptr;
  const std::span<uint8_t> piece = host.Resolve(address, sizeof(T));
  return piece.size() == sizeof(T) ? reinterpret_cast<T*>(piece.data()) : nullptr;
}

template <typename T>
Fault Store(Host& host, uint64_t address, T value) {
  T* word = Locate<T>(host, address);
  if (word == nullptr) return Fault::kBadAddress;
  __atomic_store_n(word, value, __ATOMIC_RELEASE);
  return Fault::kNone;
}

template <typename T>
Fault Load(Host& host, uint64_t address, uint64_t* value) {
  const T* word = Locate<T>(host, address);
  if (word == nullptr) return Fault::kBadAddress;
  *value = __atomic_load_n(word, __ATOMIC_ACQUIRE);
  return Fault::kNone;
}

}  // namespace

Fault ReleaseSemaphore(Host& host, uint64_t address, uint64_t payload, bool wide, bool timestamp) {
  if (timestamp) {
    if (const Fault fault = Store<uint64_t>(host, address + 8, host.NowNs()); fault != Fault::kNone)
      return fault;
    // The second word of the four belongs to the structure and is written too.
    if (!wide)
      if (const Fault fault = Store<uint32_t>(host, address + 4, 0); fault != Fault::kNone) return fault;
  }
  return wide ? Store<uint64_t>(host, address, payload)
              : Store<uint32_t>(host, address, static_cast<uint32_t>(payload));
}

Fault ReadSemaphore(Host& host, uint64_t address, bool wide, uint64_t* value) {
  return wide ? Load<uint64_t>(host, address, value) : Load<uint32_t>(host, address, value);
}

}  // namespace nvshim::broker::sim::engine
