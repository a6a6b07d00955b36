// The page tables of one simulated GPU address space: which memory lies at which GPU virtual address. Written
// by UVM's external mappings and by RM's DMA mappings, read by the engine. A mapping keeps its memory alive,
// as a page table entry does on hardware, whatever becomes of the handle it was made with. Runs under the
// driver's lock.
#ifndef BROKER_DRIVER_SIM_ADDRESS_SPACE_H_
#define BROKER_DRIVER_SIM_ADDRESS_SPACE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <span>

#include "broker/driver/sim/memory.h"
#include "broker/driver/sim/nv.h"

namespace nvshim::broker::sim {

class AddressSpace {
 public:
  explicit AddressSpace(BackingCount& backings) : backings_(backings) {}

  // Puts `length` bytes of `memory` from `offset` on at `base`, in place of what was there.
  NvStatus Map(uint64_t base, uint64_t length, std::shared_ptr<Memory> memory, uint64_t offset);

  // Takes away what lies in [base, base + length); mappings that reach beyond keep the rest.
  void Unmap(uint64_t base, uint64_t length);

  // Sets [*base, *base + length) aside for a virtual allocation: at `*base` when `fixed`, else at a free
  // place of the driver's choice, which becomes `*base`. NO_MEMORY when it is taken, or there is no such
  // place.
  NvStatus Reserve(bool fixed, uint64_t length, uint64_t* base);
  // Ends the reservation that starts at `base`, and what is mapped in it.
  void Release(uint64_t base);

  // A free place in [low, high) that nothing is mapped to; NO_MEMORY when there is none.
  NvStatus FindUnmapped(uint64_t low, uint64_t high, uint64_t length, uint64_t* base) const;

  // The bytes at `address`, as much of `length` as one mapping holds; empty where nothing is mapped, or the
  // machine cannot provide the memory.
  std::span<uint8_t> Resolve(uint64_t address, uint64_t length);

 private:
  struct Mapping {
    uint64_t length;
    std::shared_ptr<Memory> memory;
    uint64_t offset;
  };

  // The end of the first mapping, or reservation, that overlaps [base, base + length); 0 when there is none.
  uint64_t MappingInTheWay(uint64_t base, uint64_t length) const;
  uint64_t ReservationInTheWay(uint64_t base, uint64_t length) const;

  BackingCount& backings_;
  std::map<uint64_t, Mapping> mappings_;       // by base; never overlapping
  std::map<uint64_t, uint64_t> reservations_;  // base -> length; never overlapping
};

}  // namespace nvshim::broker::sim

#endif  // BROKER_DRIVER_SIM_ADDRESS_SPACE_H_
