// Where a spec is looked for by its number: the hash table that the generator writes and Find reads.
#ifndef PROTO_ABI_SLOTS_H_
#define PROTO_ABI_SLOTS_H_

#include <cstdint>

namespace nvshim::abi {

// What stands in a slot of no spec. At least half of the slots are empty, so that a look-up ends soon.
inline constexpr uint16_t kEmptySlot = 0xffff;

// The slot among 2^slot_bits from which on `number` is looked for. Multiplying by a large odd number (2^32
// over the golden ratio) spreads numbers that differ in few bits over the upper ones.
constexpr uint32_t SlotOf(uint32_t number, uint32_t slot_bits) {
  return number * 0x9e3779b1u >> (32 - slot_bits);
}

// Puts `index` into the first empty slot from SlotOf its number on. `slots` has 2^slot_bits entries, one of
// which stays empty.
template <typename Slots>
constexpr void AddToSlots(Slots& slots, uint32_t slot_bits, uint32_t number, uint16_t index) {
  const uint32_t mask = (1u << slot_bits) - 1;
  uint32_t slot = SlotOf(number, slot_bits);
  while (slots[slot] != kEmptySlot) slot = (slot + 1) & mask;
  slots[slot] = index;
}

}  // namespace nvshim::abi

#endif  // PROTO_ABI_SLOTS_H_
