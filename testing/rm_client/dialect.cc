#include "testing/rm_client/dialect.h"

#include <algorithm>

namespace nvshim::rm_client {

Dialect::Dialect(const std::string& path) {
  std::string problem;
  auto facts = abi::ReadFacts(path, &problem);
  victim::Law(facts.has_value(), "%s", problem.c_str());
  facts_ = *std::move(facts);
}

const abi::Fact* Dialect::Find(std::string_view kind, std::string_view name) const {
  for (const abi::Fact& fact : facts_)
    if (fact.kind == kind && fact.name == name) return &fact;
  return nullptr;
}

const abi::Fact* Dialect::FindClass(uint32_t number) const {
  for (const abi::Fact& fact : facts_)
    if (fact.kind == "class" && fact.number == number) return &fact;
  return nullptr;
}

uint32_t Dialect::SizeOf(std::string_view struct_name) const {
  for (const abi::Fact& fact : facts_)
    if (fact.struct_name == struct_name) return fact.size;
  victim::Law(false, "no facts about %s", std::string(struct_name).c_str());
  return 0;
}

const abi::FactField* Dialect::FindField(std::string_view struct_name, std::string_view field) const {
  for (const abi::Fact& fact : facts_) {
    if (fact.struct_name != struct_name) continue;
    if (const abi::FactField* found = fact.Find(field)) return found;
  }
  return nullptr;
}

Params::Params(const Dialect& dialect, std::string_view struct_name, uint32_t count)
    : dialect_(dialect),
      struct_name_(struct_name),
      size_(count * dialect.SizeOf(struct_name)),
      bytes_(size_ + kGuardBytes) {
  std::fill(bytes_.begin() + size_, bytes_.end(), kGuard);
}

uint32_t Params::OffsetOf(std::string_view field) const {
  const abi::FactField* found = dialect_.FindField(struct_name_, field);
  victim::Law(found != nullptr, "no facts about %s.%s", struct_name_.c_str(), std::string(field).c_str());
  return found->offset;
}

std::string Params::Text(std::string_view field) const {
  const auto begin = bytes_.begin() + OffsetOf(field);
  const auto end = std::find(begin, bytes_.begin() + size_, 0);
  victim::Law(end != bytes_.begin() + size_, "%s.%s has no end", struct_name_.c_str(),
              std::string(field).c_str());
  return std::string(begin, end);
}

bool Params::IsZeroFrom(uint32_t offset) const {
  return std::all_of(bytes_.begin() + offset, bytes_.begin() + size_, [](uint8_t byte) { return byte == 0; });
}

void Params::CheckGuard() const {
  const bool intact =
      std::all_of(bytes_.begin() + size_, bytes_.end(), [](uint8_t byte) { return byte == kGuard; });
  victim::Law(intact, "%s: bytes behind it were written", struct_name_.c_str());
}

}  // namespace nvshim::rm_client
