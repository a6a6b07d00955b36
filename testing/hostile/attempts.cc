#include "testing/hostile/attempts.h"

#include <algorithm>
#include <cerrno>
#include <set>
#include <utility>

#include "proto/wire/frame.h"

namespace nvshim::testing {

using broker::DeviceClass;
using broker::Get;
using broker::Put;

namespace {

// NV_STATUS (nvstatuscodes.h).
constexpr uint32_t kInvalidArgument = 0x1f, kInvalidClass = 0x22, kInvalidClient = 0x23,
                   kInvalidParameter = 0x3b, kNotSupported = 0x56, kObjectNotFound = 0x57;

// The most that a buffer of an attempt is long: more than any buffer may be.
constexpr uint64_t kBufferBytesMax = 2 * uint64_t{wire::kSegmentSizeBytesMax};

std::string At(const char* what, uint32_t offset) { return std::string(what) + "@" + std::to_string(offset); }

void RemoveSegment(HonestRequest& request, uint32_t index) {
  auto& segments = request.call.segments;
  segments.erase(segments.begin() + index);
  for (broker::CallSegment& segment : segments)
    if (segment.parent > index) --segment.parent;
}

class Line {
 public:
  Line(const abi::Table& table, const Knowledge& knowledge, Kind kind, const abi::Spec& spec,
       const std::function<void(const Attempt&)>& attempt)
      : table_(table),
        knowledge_(knowledge),
        kind_(kind),
        spec_(spec),
        attempt_(attempt),
        honest_(MakeHonestRequest(table, kind, spec, knowledge.own)) {}

  void TryAll() {
    Harmless("-", honest_, "the honest request");
    for (size_t i = 0; i < spec_.clients.size; ++i) TryClient(spec_.clients.data[i], i == 0);
    for (uint16_t offset : spec_.objects) TryObject(offset);
    if (spec_.share_policy_offset != abi::kNone) TrySharePolicy(spec_.share_policy_offset);
    for (const abi::FdField& fd : spec_.fds) TryFd(fd);
    if (spec_.withheld) return;
    for (const abi::Pointer& pointer : spec_.pointers) TryPointer(pointer);
    if (kind_ == Kind::kEscape) TrySizeOfCommand();
    if (kind_ == Kind::kUvm) TrySizeOfStruct();
    if (kind_ == Kind::kControl) TryParamsSize();
    if (kind_ == Kind::kClass) TryParamsOfClass();
    if (spec_.shape == abi::Shape::kAlloc) TryRootOfClientClass();
  }

 private:
  // A call that is not served is refused before anything else is looked at.
  void Emit(const std::string& field, const HonestRequest& request, const std::string& harmless, int error,
            uint32_t status) {
    if (spec_.withheld) {
      const NotServed how = HowNotServed(kind_);
      return attempt_({kind_, &spec_, field, request, "", how.error, how.status});
    }
    attempt_({kind_, &spec_, field, request, harmless, error, status});
  }
  void Harmless(const std::string& field, const HonestRequest& request, const std::string& why) {
    Emit(field, request, why, 0, 0);
  }
  // What the driver says of a number that is no file: controls have a status for it.
  void RefusedFile(const std::string& field, const HonestRequest& request) {
    if (kind_ == Kind::kControl)
      RefusedStatus(field, request, kInvalidParameter);
    else
      RefusedErrno(field, request);
  }
  void RefusedErrno(const std::string& field, const HonestRequest& request) {
    Emit(field, request, "", EINVAL, 0);
  }
  // Where the struct has no status, the errno stands for it.
  void RefusedStatus(const std::string& field, const HonestRequest& request, uint32_t status) {
    const bool can_tell = request.status_offset != abi::kNone;
    Emit(field, request, "", can_tell ? 0 : EINVAL, can_tell ? status : 0);
  }

  HonestRequest With(uint32_t offset, uint32_t value) const {
    HonestRequest request = honest_;
    Put<uint32_t>(request.call.Bytes(request.segment), offset, value);
    return request;
  }

  // ---- Handles ----

  void TryClient(uint16_t offset, bool first) {
    const std::string field = At("client", offset);
    for (uint32_t value : knowledge_.foreign_clients)
      RefusedStatus(field, With(offset, value), kInvalidClient);
    const bool issuing = first && kind_ == Kind::kEscape;
    if (issuing)
      RefusedStatus(field, With(offset, knowledge_.other_files_client), kInvalidClient);
    else
      Harmless(field, With(offset, knowledge_.other_files_client), "its own client");
    if (kind_ == Kind::kEscape)
      RefusedStatus(field, With(offset, 0), kInvalidClient);
    else
      Harmless(field, With(offset, 0), "0 names no client");
  }

  // Objects live below the issuing client: a number is nobody else's there.
  void TryObject(uint16_t offset) {
    for (uint32_t value : knowledge_.foreign_clients) {
      if (value == knowledge_.own_real_client) continue;
      Harmless(At("object", offset), With(offset, value), "looked up below the issuing client");
    }
    if (knowledge_.own_real_client != 0)
      RefusedStatus(At("object", offset), With(offset, knowledge_.own_real_client), kObjectNotFound);
  }

  // One client to share with, or more: all of a GPU, all of a user.
  void TrySharePolicy(uint16_t offset) {
    using namespace abi::share_policy;
    const std::string field = At("share_policy", offset);
    for (uint32_t value : knowledge_.foreign_clients)
      RefusedStatus(field, With(offset + kTarget, value), kInvalidClient);
    RefusedStatus(field, With(offset + kTarget, 0), kInvalidClient);
    Harmless(field, With(offset + kTarget, knowledge_.other_files_client), "its own client");
    for (uint16_t type = 0; type <= kTypeCount; ++type) {
      if (type == kTypeClient) continue;
      HonestRequest request = With(offset + kTarget, knowledge_.foreign_clients.front());
      Put<uint16_t>(request.call.Bytes(request.segment), offset + kType, type);
      Harmless(field, request, "shared with its own guest");
    }
  }

  // The parent of a client to be made: none, whatever the guest says.
  void TryRootOfClientClass() {
    for (uint32_t value : knowledge_.foreign_clients) {
      HonestRequest request =
          MakeHonestRequest(table_, Kind::kClass, *abi::Find(table_.classes, 0x41), knowledge_.own);
      Put<uint32_t>(request.call.Bytes(0), abi::nvos21::kRoot, value);
      Put<uint32_t>(request.call.Bytes(0), abi::nvos21::kObjectParent, value);
      Harmless("hRoot of a client", request, "zeroed");
    }
  }

  // ---- Files ----

  HonestRequest WithFile(uint16_t offset, uint32_t file) const {
    HonestRequest request = With(offset, file);
    std::erase_if(request.files, [&](const auto& one) { return one.field_offset == offset; });
    request.files.push_back({request.segment, offset, file});
    return request;
  }
  HonestRequest WithoutFile(uint16_t offset, uint32_t number) const {
    HonestRequest request = With(offset, number);
    std::erase_if(request.files, [&](const auto& one) { return one.field_offset == offset; });
    return request;
  }

  void TryFd(const abi::FdField& fd) {
    const std::string field = At("fd", fd.offset);
    std::vector<uint32_t> files = knowledge_.foreign_files;
    for (uint32_t file : files) {
      const HonestRequest request = WithFile(fd.offset, file);
      if (fd.use == abi::FdUse::kCookie)
        Harmless(field, request, "a number only");
      else if (fd.use == abi::FdUse::kIgnored)
        Harmless(field, request, "-1 is sent");
      else
        RefusedFile(field, request);
    }
    for (uint32_t number : {0u, 3u, 0xffffffffu}) {
      const HonestRequest request = WithoutFile(fd.offset, number);
      if (fd.use == abi::FdUse::kFile)
        RefusedFile(field, request);
      else
        Harmless(field, request, fd.use == abi::FdUse::kCookie ? "a number only" : "-1 is sent");
    }
    TryFileOfWrongClass(fd, field);
  }

  void TryFileOfWrongClass(const abi::FdField& fd, const std::string& field) {
    if (fd.use != abi::FdUse::kFile && fd.use != abi::FdUse::kMapping) return;
    const Belongings& own = knowledge_.own;
    for (uint32_t file : {own.ctl, own.gpu, own.uvm}) {
      const HonestRequest request = WithFile(fd.offset, file);
      const bool registers = spec_.number == abi::kRegisterFdNumber && kind_ == Kind::kEscape;
      if ((registers || kind_ == Kind::kControl) && file != own.ctl)
        RefusedFile(field, request);
      else
        Harmless(field, request, "its own file");
    }
  }

  // ---- Lengths ----

  void TrySizeOfCommand() {
    for (uint32_t size_bytes : {0u, 1u, spec_.size - 1, spec_.size + 1, 2 * spec_.size, 0x3fffu}) {
      if (size_bytes > 0x3fff) continue;
      for (bool as_told : {false, true}) {
        HonestRequest request = honest_;
        request.call.command = abi::EscapeCommand(spec_.number, size_bytes);
        if (as_told) request.Resize(0, size_bytes);
        const bool entries = spec_.shape == abi::Shape::kArray && size_bytes != 0 &&
                             size_bytes % spec_.size == 0 && (as_told || size_bytes == spec_.size);
        if (entries)
          Harmless("_IOC_SIZE", request, "a whole number of entries");
        else
          RefusedErrno("_IOC_SIZE", request);
      }
    }
  }

  void TrySizeOfStruct() {
    for (uint32_t size_bytes : {0u, 1u, spec_.size - 1, spec_.size + 1}) {
      if (size_bytes == spec_.size || size_bytes > kBufferBytesMax) continue;
      HonestRequest request = honest_;
      if (request.call.segments.empty()) request.Add(size_bytes, 0, 0);
      request.Resize(0, size_bytes);
      RefusedErrno("struct's size", request);
    }
  }

  void TryParamsSize() {
    for (uint32_t told : std::set<uint32_t>{0, 1, spec_.size, spec_.size - 1, spec_.size_max,
                                            spec_.size_max + 1, 0x80000000, 0xffffffff}) {
      HonestRequest request = honest_;
      Put<uint32_t>(request.call.Bytes(0), abi::nvos54::kParamsSize, told);
      const bool fits = told >= spec_.size && told <= spec_.size_max;
      const auto params = [](const HonestRequest& one) {
        const uint32_t segment = one.call.Child(0, abi::nvos54::kParams);
        return segment == 0 ? 0 : one.call.segments[segment].size_bytes;
      };
      const auto emit = [&](const HonestRequest& one) {
        if (fits && params(one) == told)
          Harmless("paramsSize", one, "true");
        else
          RefusedStatus("paramsSize", one, kInvalidArgument);
      };
      emit(request);
      if (request.segment == 0) continue;
      if (told != 0 && told <= kBufferBytesMax) {
        HonestRequest as_told = request;
        as_told.Resize(1, told);
        emit(as_told);
      }
      while (request.call.segments.size() > 1) RemoveSegment(request, 1);
      emit(request);
    }
  }

  void TryParamsOfClass() {
    for (uint32_t told : {0u, 1u, spec_.size, spec_.size + 1, 0xffffffffu}) {
      HonestRequest request = honest_;
      Put<uint32_t>(request.call.Bytes(0), abi::nvos21::kParamsSize, told);
      Harmless("paramsSize", request, "the driver goes by the class");
    }
    for (uint32_t size_bytes : {1u, spec_.size - 1, spec_.size + 1, 2 * spec_.size + 8}) {
      if (size_bytes == spec_.size || size_bytes == 0 || size_bytes > kBufferBytesMax) continue;
      HonestRequest request = honest_;
      if (request.segment == 0)
        request.Add(size_bytes, 0, abi::nvos21::kAllocParms);
      else
        request.Resize(1, size_bytes);
      RefusedErrno("params", request);
    }
    if (honest_.segment == 0) return;
    HonestRequest request = honest_;
    while (request.call.segments.size() > 1) RemoveSegment(request, 1);
    if (spec_.params_optional)
      Harmless("params", request, "NULL is allowed");
    else
      RefusedStatus("params", request, kInvalidArgument);
  }

  void TryPointer(const abi::Pointer& pointer) {
    const std::string field = At("pointer", pointer.offset);
    const uint32_t child = honest_.call.Child(honest_.segment, pointer.offset);
    if (pointer.direction == abi::Direction::kNull) {
      HonestRequest request = honest_;
      request.Add(8, request.segment, pointer.offset);
      RefusedErrno(field, request);
      request = honest_;
      Put<uint64_t>(request.call.Bytes(request.segment), pointer.offset, 0x7fff00001000);
      return Harmless(field, request, "zeroed");
    }
    HonestRequest request = honest_;
    Put<uint64_t>(request.call.Bytes(request.segment), pointer.offset, 0x7fff00001000);
    Harmless(field, request, "zeroed");
    if (pointer.count_offset == abi::kNone) return TryLengths(pointer, field, child, 1);
    const uint64_t most = pointer.size_max / pointer.element_size;
    for (uint64_t count :
         {uint64_t{0}, uint64_t{1}, most, most + 1, uint64_t{0x80000000}, uint64_t{0xffffffff},
          (uint64_t{1} << 32) / pointer.element_size, (uint64_t{1} << 32) / pointer.element_size + 1})
      if (count <= 0xffffffff) TryLengths(pointer, field, child, static_cast<uint32_t>(count));
  }

  // The buffer as it was, as long as the product in 32 bits, as long as the product, as long as may be, and
  // none.
  void TryLengths(const abi::Pointer& pointer, const std::string& field, uint32_t child, uint32_t count) {
    const uint64_t product = uint64_t{count} * pointer.element_size;
    const std::set<uint64_t> lengths = {pointer.element_size, product & 0xffffffff, product, pointer.size_max,
                                        pointer.element_size + 1ull};
    for (uint64_t size_bytes : lengths) {
      if (size_bytes == 0 || size_bytes > kBufferBytesMax) continue;
      HonestRequest request = honest_;
      if (pointer.count_offset != abi::kNone)
        Put<uint32_t>(request.call.Bytes(request.segment), pointer.count_offset, count);
      for (uint32_t each : ChildrenWithCountOf(pointer, child))
        request.Resize(each, static_cast<uint32_t>(size_bytes));
      const bool is_text = pointer.element_size == 1 && pointer.size_max < abi::kEmbeddedSizeMax;
      if (product > pointer.size_max && !is_text)
        RefusedStatus(field, request, kInvalidArgument);
      else if (size_bytes != std::min<uint64_t>(product, pointer.size_max))
        RefusedErrno(field, request);
      else
        Harmless(field, request, product > pointer.size_max ? "the count is lowered" : "true");
    }
    HonestRequest request = honest_;
    if (pointer.count_offset != abi::kNone)
      Put<uint32_t>(request.call.Bytes(request.segment), pointer.count_offset, count);
    for (uint32_t each : ChildrenWithCountOf(pointer, child)) RemoveSegment(request, each);
    Harmless(field, request, "NULL");
  }

  // The buffers whose length the same count tells: `child`, and those of other pointers, the last first.
  std::vector<uint32_t> ChildrenWithCountOf(const abi::Pointer& pointer, uint32_t child) const {
    std::vector<uint32_t> children = {child};
    for (const abi::Pointer& other : spec_.pointers)
      if (pointer.count_offset != abi::kNone && other.count_offset == pointer.count_offset &&
          other.offset != pointer.offset)
        children.push_back(honest_.call.Child(honest_.segment, other.offset));
    std::sort(children.rbegin(), children.rend());
    return children;
  }

  const abi::Table& table_;
  const Knowledge& knowledge_;
  Kind kind_;
  const abi::Spec& spec_;
  const std::function<void(const Attempt&)>& attempt_;
  HonestRequest honest_;
};

}  // namespace

NotServed HowNotServed(Kind kind) {
  if (kind == Kind::kControl) return {0, kNotSupported};
  if (kind == Kind::kClass) return {0, kInvalidClass};
  return {EINVAL, 0};
}

HonestRequest UnknownCall(const abi::Table& table, Kind kind, uint32_t number, uint32_t size_bytes,
                          const Belongings& own) {
  abi::Spec spec{};
  spec.number = number;
  spec.size = spec.size_max = size_bytes;
  spec.status_offset = spec.share_policy_offset = abi::kNone;
  return MakeHonestRequest(table, kind, spec, own);
}

void ForEachAttempt(const abi::Table& table, const Knowledge& knowledge,
                    const std::function<void(const Attempt&)>& attempt) {
  for (Kind kind : {Kind::kEscape, Kind::kControl, Kind::kClass, Kind::kUvm})
    for (const abi::Spec& spec : broker::SpecsOf(table, kind))
      Line(table, knowledge, kind, spec, attempt).TryAll();
  if (table.gss_legacy == nullptr) return;
  // Stands for every control of its range: any number in it that has no line of its own.
  abi::Spec legacy = *table.gss_legacy;
  for (legacy.number = 0x20809f01; abi::Find(table.controls, legacy.number) != nullptr;) ++legacy.number;
  Line(table, knowledge, Kind::kControl, legacy, attempt).TryAll();
}

}  // namespace nvshim::testing
