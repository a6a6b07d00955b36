#include "preload/marshal.h"

#include <errno.h>

#include <array>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "gtest/gtest.h"
// rapidcheck/gtest.h needs gtest.h before it.
#include "rapidcheck/gtest.h"

namespace nvshim::preload {
namespace {

using abi::Direction;
using abi::FdUse;
using abi::Shape;

// ---- A table made up for these tests: one spec per shape and per kind of field ----

constexpr abi::Pointer kPointers[] = {{8, 0, 4, 64, Direction::kInOut},
                                      {16, abi::kNone, 12, 0, Direction::kOut},
                                      {24, abi::kNone, 99, 0, Direction::kNull}};
constexpr abi::FdField kFds[] = {{32, FdUse::kMapping}, {36, FdUse::kFile}, {40, FdUse::kIgnored}};
constexpr abi::Pointer kRights[] = {{24, abi::kNone, 4, 4, Direction::kInOut}};
constexpr abi::FdField kEventFd[] = {{16, FdUse::kCookie}};

constexpr abi::Spec MakeSpec(uint32_t number, uint32_t size, Shape shape,
                             abi::List<abi::Pointer> pointers = {}, abi::List<abi::FdField> fds = {}) {
  return {number,     size,     size, false, shape, false,      false,
          abi::kNone, pointers, fds,  {},    {},    abi::kNone, "made up"};
}

constexpr abi::Spec kEscapes[] = {
    MakeSpec(0x2a, 32, Shape::kControl),
    MakeSpec(0x2b, 32, Shape::kAlloc),
    MakeSpec(0x2b, 48, Shape::kAlloc, {kRights, 1}),
    MakeSpec(0x50, 48, Shape::kOpaque, {kPointers, 3}, {kFds, 3}),
    MakeSpec(0xc8, 72, Shape::kArray),
};
constexpr abi::Spec kControls[] = {
    MakeSpec(0x101, 32, Shape::kOpaque, {kPointers, 3}),
    MakeSpec(0x102, 16, Shape::kOpaque),
};
constexpr abi::Spec kClasses[] = {
    MakeSpec(0x79, 24, Shape::kOpaque, {}, {kEventFd, 1}),
    MakeSpec(0x80, 56, Shape::kOpaque),
};
constexpr abi::Spec kUvm[] = {
    MakeSpec(0x17, 16, Shape::kOpaque),
    MakeSpec(0x30000002, 0, Shape::kOpaque),
};
constexpr uint16_t kAll[] = {0, 1, 2, 3, 4};
constexpr uint32_t kSlotBits = 4;
using Slots = std::array<uint16_t, 1 << kSlotBits>;
constexpr Slots SlotsOf(std::span<const abi::Spec> specs) {
  Slots slots;
  slots.fill(abi::kEmptySlot);
  for (uint16_t i = 0; i < specs.size(); ++i) abi::AddToSlots(slots, kSlotBits, specs[i].number, i);
  return slots;
}
constexpr Slots kEscapeSlots = SlotsOf(kEscapes), kControlSlots = SlotsOf(kControls),
                kClassSlots = SlotsOf(kClasses), kUvmSlots = SlotsOf(kUvm);
constexpr abi::Table kTable = {"test",
                               {kEscapes, kAll, 5, kEscapeSlots.data(), kSlotBits},
                               {kControls, kAll, 2, kControlSlots.data(), kSlotBits},
                               {kClasses, kAll, 2, kClassSlots.data(), kSlotBits},
                               {kUvm, kAll, 2, kUvmSlots.data(), kSlotBits},
                               nullptr};

constexpr uint32_t Escape(uint32_t number, uint32_t size) {
  return 3u << 30 | size << 16 | 'F' << 8 | number;
}

// A parameter struct in the program's memory.
class Params {
 public:
  explicit Params(size_t size_bytes) : bytes_(size_bytes) {}
  template <typename T>
  Params& Put(size_t offset, T value) {
    std::memcpy(bytes_.data() + offset, &value, sizeof(T));
    return *this;
  }
  Params& PutPointer(size_t offset, void* pointer) {
    return Put(offset, reinterpret_cast<uint64_t>(pointer));
  }
  void* address() { return bytes_.data(); }
  const std::vector<uint8_t>& bytes() const { return bytes_; }

 private:
  std::vector<uint8_t> bytes_;
};

// ---- Which calls get through ----

TEST(MarshalTest, AnUnknownRequestOrSizeIsEinval) {
  GatheredCall call;
  Params params(4096);
  for (const uint32_t command :
       {Escape(0x51, 48), Escape(0x50, 47), Escape(0x50, 49), Escape(0x50, 0), Escape(0x2b, 40),
        Escape(0xc8, 71), Escape(0xc8, 0), 3u << 30 | 48u << 16 | 'T' << 8 | 0x50, 0x17u}) {
    EXPECT_EQ(Gather(kTable, DeviceClass::kCtl, command, params.address(), &call), EINVAL)
        << std::hex << command;
  }
  EXPECT_EQ(Gather(kTable, DeviceClass::kUvm, Escape(0x50, 48), params.address(), &call), EINVAL);
}

TEST(MarshalTest, ANullArgumentIsEfaultUnlessNothingIsPassed) {
  GatheredCall call;
  EXPECT_EQ(Gather(kTable, DeviceClass::kCtl, Escape(0x50, 48), nullptr, &call), EFAULT);
  EXPECT_EQ(Gather(kTable, DeviceClass::kUvm, 0x17, reinterpret_cast<void*>(64), &call), EFAULT);
  EXPECT_EQ(Gather(kTable, DeviceClass::kUvm, 0x30000002, nullptr, &call), 0);
  EXPECT_EQ(call.buffer_count, 0u);
}

TEST(MarshalTest, AnArrayHasTheSizeThatTheRequestSays) {
  GatheredCall call;
  Params params(72 * 32);
  ASSERT_EQ(Gather(kTable, DeviceClass::kCtl, Escape(0xc8, 72 * 32), params.address(), &call), 0);
  EXPECT_EQ(call.buffers[0].size_bytes, 72u * 32);
}

TEST(MarshalTest, AUvmCallHasTheSizeOfTheTable) {
  GatheredCall call;
  Params params(16);
  ASSERT_EQ(Gather(kTable, DeviceClass::kUvm, 0x17, params.address(), &call), 0);
  EXPECT_EQ(call.buffers[0].size_bytes, 16u);
  EXPECT_EQ(call.buffers[0].address, params.address());
}

// ---- Pointers ----

TEST(MarshalTest, EachPointerLeadsToABufferOfItsLength) {
  GatheredCall call;
  uint8_t list[64], fixed[12];
  Params params(48);
  params.Put<uint32_t>(0, 5).PutPointer(8, list).PutPointer(16, fixed).Put<uint64_t>(24, 0xdead);
  ASSERT_EQ(Gather(kTable, DeviceClass::kCtl, Escape(0x50, 48), params.address(), &call), 0);
  ASSERT_EQ(call.buffer_count, 3u);
  EXPECT_EQ(call.buffers[1].address, list);
  EXPECT_EQ(call.buffers[1].size_bytes, 20u);
  EXPECT_EQ(call.buffers[1].pointer_offset, 8u);
  EXPECT_EQ(call.buffers[2].address, fixed);
  EXPECT_EQ(call.buffers[2].size_bytes, 12u);
  EXPECT_EQ(call.buffers[2].parent, 0u);
}

TEST(MarshalTest, NullAndEmptyListsHaveNoBuffer) {
  GatheredCall call;
  uint8_t list[64];
  Params params(48);
  params.Put<uint32_t>(0, 0xffffffff);  // the count of a list that is not there
  ASSERT_EQ(Gather(kTable, DeviceClass::kCtl, Escape(0x50, 48), params.address(), &call), 0);
  EXPECT_EQ(call.buffer_count, 1u);
  params.Put<uint32_t>(0, 0).PutPointer(8, list);
  ASSERT_EQ(Gather(kTable, DeviceClass::kCtl, Escape(0x50, 48), params.address(), &call), 0);
  EXPECT_EQ(call.buffer_count, 1u);
}

TEST(MarshalTest, AListBeyondTheDriversLimitIsCutToIt) {
  GatheredCall call;
  uint8_t list[64];
  for (const uint32_t count : {17u, 1u << 30, 0x40000001u, 0xffffffffu}) {
    Params params(48);
    params.Put<uint32_t>(0, count).PutPointer(8, list);
    ASSERT_EQ(Gather(kTable, DeviceClass::kCtl, Escape(0x50, 48), params.address(), &call), 0);
    EXPECT_EQ(call.buffers[1].size_bytes, 64u) << count;
  }
}

TEST(MarshalTest, APointerIntoTheFirstPageIsEfault) {
  GatheredCall call;
  Params params(48);
  params.Put<uint64_t>(16, 8);
  EXPECT_EQ(Gather(kTable, DeviceClass::kCtl, Escape(0x50, 48), params.address(), &call), EFAULT);
}

// ---- Nested parameters ----

Params Control(uint32_t cmd, void* params, uint32_t params_size) {
  Params control(32);
  control.Put<uint32_t>(8, cmd).PutPointer(16, params).Put<uint32_t>(24, params_size);
  return control;
}

int GatherControl(Params& control, GatheredCall* call) {
  return Gather(kTable, DeviceClass::kCtl, Escape(0x2a, 32), control.address(), call);
}

TEST(MarshalTest, AControlOfTheTableBringsTheBuffersOfItsParameters) {
  GatheredCall call;
  uint8_t list[64];
  Params params(32);
  params.Put<uint32_t>(0, 2).PutPointer(8, list);
  Params control = Control(0x101, params.address(), 32);
  ASSERT_EQ(GatherControl(control, &call), 0);
  ASSERT_EQ(call.buffer_count, 3u);
  EXPECT_EQ(call.buffers[1].address, params.address());
  EXPECT_EQ(call.buffers[1].pointer_offset, 16u);
  EXPECT_EQ(call.buffers[2].size_bytes, 8u);
  EXPECT_EQ(call.buffers[2].parent, 1u);
}

TEST(MarshalTest, AnUnknownControlIsSentAsItIs) {
  GatheredCall call;
  Params params(77);
  Params control = Control(0xbad, params.address(), 77);
  ASSERT_EQ(GatherControl(control, &call), 0);
  ASSERT_EQ(call.buffer_count, 2u);
  EXPECT_EQ(call.buffers[1].size_bytes, 77u);
}

TEST(MarshalTest, ParametersThatAreTooShortAreNotReadBeyondTheirEnd) {
  GatheredCall call;
  for (uint32_t size = 1; size < 32; ++size) {
    Params params(size);
    std::memset(params.address(), 0x11, size >= 16 ? 8 : size);  // a count, and no pointer to follow
    Params control = Control(0x101, params.address(), size);
    ASSERT_EQ(GatherControl(control, &call), 0) << size;
    EXPECT_EQ(call.buffer_count, 2u);
  }
}

TEST(MarshalTest, ParametersBeyondTheDriversLimitAreEinval) {
  GatheredCall call;
  uint8_t somewhere[1];
  for (const uint32_t size : {wire::kSegmentSizeBytesMax + 1, 0x80000000u, 0xffffffffu}) {
    Params control = Control(0x102, somewhere, size);
    EXPECT_EQ(GatherControl(control, &call), EINVAL) << size;
  }
}

TEST(MarshalTest, TheClassSaysHowLargeTheParametersOfAnAllocAre) {
  GatheredCall call;
  Params params(56);
  Params alloc(32);
  alloc.Put<uint32_t>(12, 0x80).PutPointer(16, params.address());  // paramsSize stays 0, as clients leave it
  ASSERT_EQ(Gather(kTable, DeviceClass::kCtl, Escape(0x2b, 32), alloc.address(), &call), 0);
  ASSERT_EQ(call.buffer_count, 2u);
  EXPECT_EQ(call.buffers[1].size_bytes, 56u);
}

TEST(MarshalTest, AnUnknownClassIsSentWithoutParameters) {
  GatheredCall call;
  Params params(56);
  Params alloc(32);
  alloc.Put<uint32_t>(12, 0xdead).PutPointer(16, params.address());
  ASSERT_EQ(Gather(kTable, DeviceClass::kCtl, Escape(0x2b, 32), alloc.address(), &call), 0);
  EXPECT_EQ(call.buffer_count, 1u);
}

TEST(MarshalTest, TheLongAllocBringsItsRightsMask) {
  GatheredCall call;
  Params params(24), rights(4);
  params.Put<int>(16, 42);
  Params alloc(48);
  alloc.Put<uint32_t>(12, 0x79).PutPointer(16, params.address()).PutPointer(24, rights.address());
  ASSERT_EQ(Gather(kTable, DeviceClass::kGpu, Escape(0x2b, 48), alloc.address(), &call), 0);
  ASSERT_EQ(call.buffer_count, 3u);
  EXPECT_EQ(call.buffers[1].address, rights.address());
  EXPECT_EQ(call.buffers[1].pointer_offset, 24u);
  EXPECT_EQ(call.buffers[2].address, params.address());
  ASSERT_EQ(call.fd_count, 1u);
  EXPECT_EQ(call.fds[0].fd, 42);
  EXPECT_EQ(call.fds[0].buffer, 2u);
  EXPECT_EQ(call.fds[0].use, FdUse::kCookie);
}

TEST(MarshalTest, FdFieldsAreFoundWithTheirUse) {
  GatheredCall call;
  Params params(48);
  params.Put<int>(32, 5).Put<int>(36, -1).Put<int>(40, 7);
  ASSERT_EQ(Gather(kTable, DeviceClass::kCtl, Escape(0x50, 48), params.address(), &call), 0);
  ASSERT_EQ(call.fd_count, 3u);
  EXPECT_EQ(call.fds[0].fd, 5);
  EXPECT_EQ(call.fds[0].use, FdUse::kMapping);
  EXPECT_EQ(call.fds[1].fd, -1);
}

TEST(MarshalTest, AnXferIsTheRequestInsideIt) {
  GatheredCall call;
  Params params(48);
  Params xfer(16);
  xfer.Put<uint32_t>(0, 0x50).Put<uint32_t>(4, 48).PutPointer(8, params.address());
  ASSERT_EQ(Gather(kTable, DeviceClass::kCtl, Escape(0xd3, 16), xfer.address(), &call), 0);
  EXPECT_EQ(call.command, Escape(0x50, 48));
  EXPECT_EQ(call.buffers[0].address, params.address());
  xfer.Put<uint32_t>(0, 0xd3);
  EXPECT_EQ(Gather(kTable, DeviceClass::kCtl, Escape(0xd3, 16), xfer.address(), &call), EINVAL);
  xfer.Put<uint32_t>(0, 0x50).Put<uint32_t>(4, 0x10000);
  EXPECT_EQ(Gather(kTable, DeviceClass::kCtl, Escape(0xd3, 16), xfer.address(), &call), EINVAL);
}

// ---- The answer ----

// Writes `answer` into buffer `index`.
bool ScatterBytes(const GatheredCall& call, uint32_t index, const std::vector<uint8_t>& answer) {
  size_t at = 0;
  return Scatter(
      call, index,
      [&](void* to, uint32_t size) {
        if (at + size > answer.size()) return false;
        std::memcpy(to, answer.data() + at, size);
        at += size;
        return true;
      },
      [&](uint32_t size) {
        at += size;
        return at <= answer.size();
      });
}

TEST(MarshalTest, PointersAndFdsOfTheProgramSurviveAnyAnswer) {
  GatheredCall call;
  uint8_t list[64];
  Params params(48);
  params.Put<uint32_t>(0, 5).PutPointer(8, list).Put<uint64_t>(24, 0xdead).Put<int>(32, 5).Put<int>(36, 6);
  const std::vector<uint8_t> before = params.bytes();
  ASSERT_EQ(Gather(kTable, DeviceClass::kCtl, Escape(0x50, 48), params.address(), &call), 0);
  ASSERT_TRUE(ScatterBytes(call, 0, std::vector<uint8_t>(48, 0xee)));
  for (size_t i = 0; i < 48; ++i) {
    const bool own = i >= 8 && i < 44;  // three pointers and three fds lie side by side
    EXPECT_EQ(params.bytes()[i], own ? before[i] : 0xee) << i;
  }
}

TEST(MarshalTest, TheParamsPointerOfAControlSurvivesAnyAnswer) {
  GatheredCall call;
  Params params(16);
  Params control = Control(0x102, params.address(), 16);
  ASSERT_EQ(GatherControl(control, &call), 0);
  ASSERT_TRUE(ScatterBytes(call, 0, std::vector<uint8_t>(32, 0xee)));
  ASSERT_TRUE(ScatterBytes(call, 1, std::vector<uint8_t>(16, 0xdd)));
  uint64_t pointer;
  std::memcpy(&pointer, control.bytes().data() + 16, sizeof(pointer));
  EXPECT_EQ(pointer, reinterpret_cast<uint64_t>(params.address()));
  EXPECT_EQ(control.bytes()[15], 0xee);
  EXPECT_EQ(control.bytes()[24], 0xee);
  EXPECT_EQ(params.bytes(), std::vector<uint8_t>(16, 0xdd));
}

TEST(MarshalTest, AnAnswerThatIsTooShortIsNotAccepted) {
  GatheredCall call;
  Params params(48);
  ASSERT_EQ(Gather(kTable, DeviceClass::kCtl, Escape(0x50, 48), params.address(), &call), 0);
  for (size_t size = 0; size < 48; ++size) EXPECT_FALSE(ScatterBytes(call, 0, std::vector<uint8_t>(size)));
}

// Whatever bytes a program passes: no call has more buffers than a frame, no buffer is larger than the
// driver's limit, and an answer equal to the question changes nothing.
RC_GTEST_PROP(MarshalTest, EveryStructOfEveryTableComesBackAsItWent, ()) {
  const abi::Table& table = *abi::Tables().data[*rc::gen::inRange<size_t>(0, abi::Tables().size)];
  const abi::Spec& spec = table.escapes[*rc::gen::inRange<size_t>(0, table.escapes.size)];
  const abi::Spec& control = table.controls[*rc::gen::inRange<size_t>(0, table.controls.size)];
  const abi::Spec& klass = table.classes[*rc::gen::inRange<size_t>(0, table.classes.size)];
  std::vector<uint8_t> buffer(wire::kSegmentSizeBytesMax, 0x5a);
  Params params(std::max(control.size, klass.size) + 8);
  Params top(spec.size);
  const auto fill = [&](Params& to, const abi::Spec& of) {
    for (const abi::Pointer& pointer : of.pointers) {
      to.PutPointer(pointer.offset, *rc::gen::arbitrary<bool>() ? buffer.data() : nullptr);
      if (pointer.count_offset != abi::kNone)
        to.Put<uint32_t>(pointer.count_offset, *rc::gen::inRange<uint32_t>(0, 300));
    }
  };
  fill(top, spec);
  if (spec.shape == Shape::kControl) {
    fill(params, control);
    top.Put(abi::nvos54::kCmd, control.number).Put(abi::nvos54::kParamsSize, control.size);
    top.PutPointer(abi::nvos54::kParams, params.address());
  } else if (spec.shape == Shape::kAlloc) {
    fill(params, klass);
    top.Put(abi::nvos21::kClass, klass.number).PutPointer(abi::nvos21::kAllocParms, params.address());
  }
  const std::vector<uint8_t> top_before = top.bytes(), params_before = params.bytes();
  GatheredCall call;
  RC_ASSERT(Gather(table, DeviceClass::kCtl, Escape(spec.number, spec.size), top.address(), &call) == 0);
  RC_ASSERT(call.buffer_count <= wire::kSegmentsPerCallMax);
  for (uint32_t i = 0; i < call.buffer_count; ++i) {
    RC_ASSERT(call.buffers[i].size_bytes <= wire::kSegmentSizeBytesMax);
    const uint8_t* address = call.buffers[i].address;
    RC_ASSERT(ScatterBytes(call, i, std::vector<uint8_t>(address, address + call.buffers[i].size_bytes)));
  }
  RC_ASSERT(top.bytes() == top_before);
  RC_ASSERT(params.bytes() == params_before);
}

}  // namespace
}  // namespace nvshim::preload
