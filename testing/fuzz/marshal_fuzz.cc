// Fuzzer of the shim's marshalling of a program's structs (preload/marshal.h): request numbers, classes,
// sizes and counts are the input's; pointers are made to lead to memory that is exactly as long as the
// driver's rule for it says, so that a sanitizer sees the first byte beyond. What is gathered must lie inside
// that memory, and an answer must change all of it but the program's own fields.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include "preload/marshal.h"
#include "testing/fuzz/input.h"

namespace nvshim::testing {
namespace {

constexpr uint32_t kXfer = 0xd3;  // NV_ESC_IOCTL_XFER_CMD
constexpr uint8_t kUntouched = 0x11, kAnswer = 0xab;

void Require(bool holds) {
  if (!holds) abort();
}

template <typename T>
T Read(const std::vector<uint8_t>& bytes, size_t offset) {
  T value{};
  if (offset + sizeof(T) <= bytes.size()) std::memcpy(&value, bytes.data() + offset, sizeof(T));
  return value;
}
template <typename T>
void Write(std::vector<uint8_t>& bytes, size_t offset, T value) {
  if (offset + sizeof(T) <= bytes.size()) std::memcpy(bytes.data() + offset, &value, sizeof(T));
}

// The program's memory.
class Program {
 public:
  explicit Program(Input& input)
      : input_(input), table_(*abi::Tables().data[input.Byte() % abi::Tables().size]) {}

  void Run() {
    const bool uvm = (input_.Byte() & 1) != 0;
    const uint32_t command = uvm ? UvmCommand() : EscapeCommand();
    const abi::Spec* spec = uvm ? abi::Find(table_.uvm, command) : FindEscape(command);
    const uint32_t size_bytes = !uvm ? abi::IocSize(command) : spec == nullptr ? 0 : spec->size;
    std::vector<uint8_t>& top = Memory(size_bytes);
    for (size_t i = 0; i < std::min<size_t>(top.size(), 64); ++i) top[i] = input_.Byte();
    if (spec != nullptr) Follow(*spec, top);
    const bool wrapped = !uvm && abi::IocType(command) == abi::kEscapeType && input_.Byte() % 2 == 0;
    const int error = wrapped ? GatherWrapped(command, top) : Gather(uvm, command, top.data());
    if (spec == nullptr) Require(error != 0);
    if (error == 0) Answer();
  }

 private:
  // Mostly a call of the table; else any number, with any size, but no wrapper: of those see GatherWrapped.
  uint32_t EscapeCommand() {
    const uint8_t odd = input_.Byte();
    if (odd == 0) {
      const uint32_t any = input_.Word();
      return abi::IsEscape(any, kXfer) ? 0 : any;
    }
    const abi::Spec& spec = table_.escapes[input_.Byte() % table_.escapes.size];
    const uint32_t count = spec.shape == abi::Shape::kArray ? odd % 16 : 1;
    return abi::EscapeCommand(spec.number, odd < 8 ? input_.Byte() : spec.size * count);
  }
  uint32_t UvmCommand() {
    return input_.Byte() == 0 ? input_.Word() : table_.uvm[input_.Byte() % table_.uvm.size].number;
  }

  // Nothing for a number or a size that is in no table.
  const abi::Spec* FindEscape(uint32_t command) const {
    const uint32_t size_bytes = abi::IocSize(command);
    const abi::Spec* spec = abi::Find(table_.escapes, abi::IocNumber(command));
    if (abi::IocType(command) != abi::kEscapeType || spec == nullptr) return nullptr;
    if (spec->shape == abi::Shape::kArray)
      return size_bytes != 0 && size_bytes % spec->size == 0 ? spec : nullptr;
    if (size_bytes == 0) return spec->size == 0 ? spec : nullptr;
    return abi::Find(table_.escapes, abi::IocNumber(command), size_bytes);
  }

  int Gather(bool uvm, uint32_t command, void* argument) {
    const auto device_class = uvm ? preload::DeviceClass::kUvm : preload::DeviceClass::kCtl;
    return preload::Gather(table_, device_class, command, argument, &call_);
  }

  // Through NV_ESC_IOCTL_XFER_CMD.
  int GatherWrapped(uint32_t command, std::vector<uint8_t>& top) {
    std::vector<uint8_t> xfer(16);
    Write<uint32_t>(xfer, 0, abi::IocNumber(command));
    Write<uint32_t>(xfer, 4, abi::IocSize(command));
    Write<uint64_t>(xfer, 8, reinterpret_cast<uint64_t>(top.data()));
    return Gather(false, abi::EscapeCommand(kXfer, 16), xfer.data());
  }

  std::vector<uint8_t>& Memory(size_t size_bytes) {
    memory_.push_back(std::make_unique<std::vector<uint8_t>>(size_bytes));
    return *memory_.back();
  }

  // Memory for what a pointer at `offset` leads to; NULL, or a pointer into the first page, now and then.
  std::vector<uint8_t>* Point(std::vector<uint8_t>& bytes, uint32_t offset, uint64_t size_bytes) {
    const uint8_t how = input_.Byte() % 16;
    if (how < 2 || size_bytes > wire::kSegmentSizeBytesMax) {
      Write<uint64_t>(bytes, offset,
                      how == 1                                  ? 0xfff
                      : size_bytes > wire::kSegmentSizeBytesMax ? 0x100000
                                                                : 0);
      return nullptr;
    }
    std::vector<uint8_t>& to = Memory(size_bytes);
    Write<uint64_t>(bytes, offset, reinterpret_cast<uint64_t>(to.data()));
    return &to;
  }

  void FollowPointers(const abi::Spec& spec, std::vector<uint8_t>& bytes) {
    for (const abi::Pointer& pointer : spec.pointers)  // several may share a count
      if (pointer.count_offset != abi::kNone)
        Write<uint32_t>(bytes, pointer.count_offset, input_.Byte() < 0xf0 ? input_.Byte() : input_.Word());
    for (const abi::Pointer& pointer : spec.pointers) {
      uint64_t size_bytes = pointer.element_size;
      if (pointer.count_offset != abi::kNone) size_bytes *= Read<uint32_t>(bytes, pointer.count_offset);
      Point(bytes, pointer.offset, std::min<uint64_t>(size_bytes, pointer.size_max));
    }
  }

  // Gives every pointer of a struct, and of the parameters behind it, a place to lead to.
  void Follow(const abi::Spec& spec, std::vector<uint8_t>& top) {
    FollowPointers(spec, top);
    const bool control = spec.shape == abi::Shape::kControl;
    if (!control && spec.shape != abi::Shape::kAlloc) return;
    const abi::SpecList& list = control ? table_.controls : table_.classes;
    const abi::Spec& nested = list[(input_.Byte() | input_.Byte() << 8) % list.size];
    Write<uint32_t>(top, control ? abi::nvos54::kCmd : abi::nvos21::kClass, nested.number);
    const uint32_t size_offset = control                            ? abi::nvos54::kParamsSize
                                 : top.size() == abi::nvos64::kSize ? abi::nvos64::kParamsSize
                                                                    : abi::nvos21::kParamsSize;
    const uint8_t how = input_.Byte() % 4;
    const uint32_t told_bytes = how == 0 ? input_.Byte() : how == 1 ? input_.Word() >> 8 : nested.size;
    Write<uint32_t>(top, size_offset, told_bytes);
    const uint32_t size_bytes = !control && told_bytes == 0 ? nested.size : told_bytes;
    std::vector<uint8_t>* params = Point(top, abi::nvos54::kParams, size_bytes);
    if (params != nullptr) FollowPointers(nested, *params);
  }

  // Whose memory a buffer is; all of it must be somebody's.
  std::vector<uint8_t>& MemoryOf(const preload::GuestBuffer& buffer) {
    for (const auto& one : memory_)
      if (buffer.address >= one->data() && buffer.address + buffer.size_bytes <= one->data() + one->size())
        return *one;
    abort();
  }

  void Answer() {
    const preload::GatheredCall& call = call_;
    for (uint32_t i = 0; i < call.buffer_count; ++i) {
      const preload::GuestBuffer& buffer = call.buffers[i];
      std::vector<uint8_t>& memory = MemoryOf(buffer);
      std::fill(memory.begin(), memory.end(), kUntouched);
      uint32_t answered_bytes = 0;
      const auto read = [&](uint8_t* to, uint32_t n) {
        std::fill_n(to, n, kAnswer);
        answered_bytes += n;
        return true;
      };
      const auto skip = [&](uint32_t n) {
        answered_bytes += n;
        return true;
      };
      Require(preload::Scatter(call, i, read, skip) && answered_bytes == buffer.size_bytes);
      std::vector<uint8_t> expected(buffer.size_bytes, kAnswer);
      for (const preload::OwnField& own : std::span(call.own, call.own_count)) {
        if (own.buffer != i) continue;
        Require(uint64_t{own.offset} + own.size_bytes <= expected.size());
        std::fill_n(expected.begin() + own.offset, own.size_bytes, kUntouched);
      }
      Require(std::equal(expected.begin(), expected.end(), buffer.address));
    }
  }

  Input& input_;
  const abi::Table& table_;
  preload::GatheredCall call_;
  std::vector<std::unique_ptr<std::vector<uint8_t>>> memory_;
};

}  // namespace
}  // namespace nvshim::testing

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  nvshim::testing::Input input(data, size);
  nvshim::testing::Program(input).Run();
  return 0;
}
