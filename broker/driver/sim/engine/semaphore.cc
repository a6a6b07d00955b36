// The payload must be naturally aligned, as the hardware demands; then it lies inside one page and one piece.
#include "broker/driver/sim/engine/semaphore.h"

#include <algorithm>
#include <type_traits>

namespace nvshim::broker::sim::engine {
namespace {

template <typename T>
T* Locate(Host& host, uint64_t address) {
  if (address % sizeof(T) != 0) return nullptr;
  const std::span<uint8_t> piece = host.Resolve(address, sizeof(T));
  return piece.size() == sizeof(T) ? reinterpret_cast<T*>(piece.data()) : nullptr;
}

template <typename T>
T Reduce(Reduction reduction, bool is_signed, T there, T payload) {
  using Signed = std::make_signed_t<T>;
  const bool less = is_signed ? static_cast<Signed>(there) < static_cast<Signed>(payload) : there < payload;
  switch (reduction) {
    case Reduction::kMin:
      return less ? there : payload;
    case Reduction::kMax:
      return less ? payload : there;
    case Reduction::kXor:
      return there ^ payload;
    case Reduction::kAnd:
      return there & payload;
    case Reduction::kOr:
      return there | payload;
    case Reduction::kAdd:
      return there + payload;
    case Reduction::kIncrement:  // counts up to the payload and starts again
      return there >= payload ? T{0} : there + 1;
    case Reduction::kDecrement:
      return there == 0 || there > payload ? payload : there - 1;
  }
  return there;
}

// Reductions are atomic among the GPU's engines, which run one at a time; towards the CPU no more than over
// PCIe without atomics.
template <typename T>
Fault Store(Host& host, const Release& release) {
  T* word = Locate<T>(host, release.address);
  if (word == nullptr) return Fault::kBadAddress;
  T value = static_cast<T>(release.payload);
  if (release.reduces)
    value = Reduce(release.reduction, release.is_signed, __atomic_load_n(word, __ATOMIC_ACQUIRE), value);
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

// Eight bytes of time behind eight of payload, of which a short payload leaves the upper four 0.
Fault StoreTimestamp(Host& host, const Release& release) {
  const Fault fault = Store<uint64_t>(host, {.address = release.address + 8, .payload = host.NowNs()});
  if (fault != Fault::kNone || release.wide) return fault;
  return Store<uint32_t>(host, {.address = release.address + 4, .payload = 0});
}

}  // namespace

Fault ReleaseSemaphore(Host& host, const Release& release) {
  if (release.timestamp) {
    if (release.reduces) return Fault::kUnsupported;
    if (const Fault fault = StoreTimestamp(host, release); fault != Fault::kNone) return fault;
  }
  return release.wide ? Store<uint64_t>(host, release) : Store<uint32_t>(host, release);
}

Fault ReadSemaphore(Host& host, uint64_t address, bool wide, uint64_t* value) {
  return wide ? Load<uint64_t>(host, address, value) : Load<uint32_t>(host, address, value);
}

}  // namespace nvshim::broker::sim::engine
