#include "broker/driver/frontend_answers.h"

#include <algorithm>
#include <cerrno>

#include "broker/driver/call.h"

namespace nvshim::broker {
namespace {

constexpr uint32_t kStrict = 0, kRelaxed = '1', kQuery = '2';
constexpr size_t kReplyOffset = 4, kTextOffset = 8, kTextBytes = 64;

std::string_view Branch(std::string_view version) { return version.substr(0, version.find('.')); }

bool Accepts(uint32_t cmd, std::string_view version, std::string_view given) {
  switch (cmd) {
    case kStrict:
      return given == version;
    case kRelaxed:
      return Branch(given) == Branch(version);
    default:
      return cmd == kQuery;
  }
}

}  // namespace

int CheckVersionStr(std::string_view version, std::span<uint8_t> params) {
  const std::span<uint8_t> text = params.subspan(kTextOffset, kTextBytes);
  const auto end = std::find(text.begin(), text.end(), 0);
  const std::string_view given(reinterpret_cast<const char*>(text.data()),
                               static_cast<size_t>(end - text.begin()));
  const bool accepted = Accepts(Get<uint32_t>(params, 0), version, given);
  Put<uint32_t>(params, kReplyOffset, accepted ? 1 : 0);  // recognised or not
  std::fill(text.begin(), text.end(), uint8_t{0});
  std::copy_n(version.begin(), std::min(version.size(), kTextBytes - 1), text.begin());
  return accepted ? 0 : EINVAL;
}

void NumaInfo(uint64_t memblock_size_bytes, std::span<uint8_t> params) {
  std::fill(params.begin(), params.end(), uint8_t{0});
  Put<int32_t>(params, 0, -1);                    // nid
  Put<uint64_t>(params, 8, memblock_size_bytes);  // status behind it stays 0: disabled
}

}  // namespace nvshim::broker
