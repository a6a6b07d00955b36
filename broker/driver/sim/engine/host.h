// What the host engine needs from outside: the memory behind a GPU virtual address, the time, and a way to
// tell that something finished. The engine itself knows no object, handle, file or system call. Used by one
// thread at a time.
#ifndef BROKER_DRIVER_SIM_ENGINE_HOST_H_
#define BROKER_DRIVER_SIM_ENGINE_HOST_H_

#include <cstdint>
#include <cstring>
#include <span>

namespace nvshim::broker::sim::engine {

// A program that a guest launches.
struct KernelLaunch {
  uint32_t class_number;
  uint32_t qmd_version;  // major in the upper four bits of eight
  uint64_t program;      // GPU virtual address of its first instruction
};

// Virtual addresses have 57 bits on Hopper, and no more on others: of the upper of two registers these.
inline constexpr uint32_t kAddressUpperMask = 0x1ff'ffff;

class Host {
 public:
  virtual ~Host() = default;

  // The memory at `address`, as much of `length` bytes as lies in one piece; empty where nothing is mapped.
  // Guests write to it at any time. Valid until the caller's turn ends.
  virtual std::span<uint8_t> Resolve(uint64_t address, uint64_t length) = 0;

  // The GPU's timer, in nanoseconds.
  virtual uint64_t NowNs() = 0;

  // A method asked for an interrupt that programs can wait for.
  virtual void Interrupt() = 0;

  // A program is launched. True lets the launch complete, as if the program had run; false stops the channel.
  virtual bool Launch(const KernelLaunch& launch) = 0;
};

// Copies to and from GPU addresses, over as many pieces as it takes. False when part of the range is not
// mapped; what came before it is copied by then, as on hardware.
inline bool ReadMemory(Host& host, uint64_t address, void* to, uint64_t length) {
  auto* bytes = static_cast<uint8_t*>(to);
  while (length != 0) {
    const std::span<uint8_t> piece = host.Resolve(address, length);
    if (piece.empty()) return false;
    std::memcpy(bytes, piece.data(), piece.size());
    bytes += piece.size();
    address += piece.size();
    length -= piece.size();
  }
  return true;
}

inline bool WriteMemory(Host& host, uint64_t address, const void* from, uint64_t length) {
  const auto* bytes = static_cast<const uint8_t*>(from);
  while (length != 0) {
    const std::span<uint8_t> piece = host.Resolve(address, length);
    if (piece.empty()) return false;
    std::memcpy(piece.data(), bytes, piece.size());
    bytes += piece.size();
    address += piece.size();
    length -= piece.size();
  }
  return true;
}

}  // namespace nvshim::broker::sim::engine

#endif  // BROKER_DRIVER_SIM_ENGINE_HOST_H_
