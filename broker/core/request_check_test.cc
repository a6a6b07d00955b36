// Laws of the request check: what the driver would understand passes, anything else is refused the way the
// driver refuses it, and however many or long the buffers claim to be, nothing outside the call is touched.
#include "broker/core/request_check.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <vector>

namespace nvshim::broker {
namespace {

constexpr uint32_t Escape(uint32_t number, uint32_t size_bytes) {
  return 3u << 30 | size_bytes << 16 | abi::kEscapeType << 8 | number;
}
constexpr uint32_t kControl = Escape(0x2a, 32);
constexpr uint32_t kAlloc21 = Escape(0x2b, 32);
constexpr uint32_t kAlloc64 = Escape(0x2b, 48);
constexpr uint32_t kFree = Escape(0x29, 16);
constexpr uint32_t kAllocMemory = Escape(0x27, 56);
constexpr uint32_t kVidHeap = Escape(0x4a, 184);
constexpr uint32_t kCardInfo = 0xc8;

constexpr uint32_t kGetBuildVersion = 0x101;       // 40 bytes, three strings of up to 256 bytes at 8, 16, 24
constexpr uint32_t kGetSurfaceInfo = 0x410110;     // 16 bytes, count at 0, list of 8 bytes each at 8
constexpr uint32_t kChannelList = 0x80170d;        // 24 bytes, one count at 0 for two lists of 4 bytes each
constexpr uint32_t kDebugReadMemory = 0x83de0315;  // 24 bytes, count of bytes at 4, pointer at 16
constexpr uint32_t kBindPmResources = 0xb0cc0107;  // no parameters
constexpr uint32_t kPointer = 0x10000;             // what a guest's pointers may look like

const abi::Table& Table535() { return *abi::FindTable("535.261.03"); }

// A call put together segment by segment, each with room behind it that belongs to nobody.
struct Call : DriverCall {
  explicit Call(uint32_t number, uint32_t struct_bytes = 0) {
    command = number;
    if (struct_bytes != 0) Add(struct_bytes, 0, 0);
  }

  Call& Add(uint32_t size_bytes, uint32_t parent, uint32_t pointer_offset) {
    segments.push_back({static_cast<uint32_t>(buffer.size()), size_bytes, parent, pointer_offset});
    buffer.resize(buffer.size() + (size_bytes + 7) / 8 * 8);
    return *this;
  }

  Call& U32(uint32_t segment, uint32_t offset, uint32_t value) {
    Put<uint32_t>(Bytes(segment), offset, value);
    return *this;
  }
  Call& U64(uint32_t segment, uint32_t offset, uint64_t value) {
    Put<uint64_t>(Bytes(segment), offset, value);
    return *this;
  }
};

Call Control(uint32_t cmd, uint32_t params_bytes) {
  Call call(kControl, 32);
  call.U32(0, 8, cmd).U32(0, 24, params_bytes);
  if (params_bytes != 0) call.Add(params_bytes, 0, 16);
  return call;
}

Call Alloc(uint32_t command, uint32_t rm_class, uint32_t params_bytes) {
  Call call(command, abi::IocSize(command));
  call.U32(0, 12, rm_class);
  if (params_bytes != 0) call.Add(params_bytes, 0, 16);
  return call;
}

CheckedCall Check(DriverCall& call, DeviceClass device_class = DeviceClass::kCtl) {
  return CheckRequest(Table535(), Verdicts::OfTable(Table535()), device_class, call);
}
CheckedCall Check(DriverCall&& call, DeviceClass device_class = DeviceClass::kCtl) {
  return Check(call, device_class);
}

::testing::AssertionResult Passes(const CheckedCall& checked) {
  if (!checked.refusal) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure()
         << "refused: " << kReasonNames[static_cast<size_t>(checked.refusal->reason)];
}

::testing::AssertionResult Fails(const CheckedCall& checked, Reason reason, int error, uint32_t status = 0) {
  if (!checked.refusal) return ::testing::AssertionFailure() << "not refused";
  if (checked.refusal->reason == reason && checked.refusal->error == error &&
      checked.refusal->status == status)
    return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure()
         << kReasonNames[static_cast<size_t>(checked.refusal->reason)] << " errno " << checked.refusal->error
         << " status " << checked.refusal->status;
}

// ---- Numbers and sizes of the struct ----

TEST(RequestCheckTest, AnEscapeOfTheRightSizePasses) {
  const CheckedCall checked = Check(Call(kFree, 16));
  EXPECT_TRUE(Passes(checked));
  EXPECT_EQ(checked.spec->name, "NV_ESC_RM_FREE");
  EXPECT_EQ(checked.nested, nullptr);
}

TEST(RequestCheckTest, OnlyNumberAndSizeOfACommandCount) {
  EXPECT_TRUE(Passes(Check(Call(16u << 16 | 0x29, 16))));
  EXPECT_TRUE(Passes(Check(Call(1u << 30 | 16u << 16 | 'x' << 8 | 0x29, 16))));
}

TEST(RequestCheckTest, UnknownEscapesGetEinval) {
  EXPECT_TRUE(Fails(Check(Call(Escape(0xfe, 16), 16)), Reason::kUnknownEscape, EINVAL));
  EXPECT_TRUE(Fails(Check(Call(0)), Reason::kUnknownEscape, EINVAL));
  EXPECT_EQ(Check(Call(Escape(0xfe, 16), 16)).spec, nullptr);
}

TEST(RequestCheckTest, AnEscapeOfAnotherSizeGetsEinval) {
  EXPECT_TRUE(Fails(Check(Call(Escape(0x29, 12), 12)), Reason::kBadSize, EINVAL));
  EXPECT_TRUE(Fails(Check(Call(Escape(0x29, 0))), Reason::kBadSize, EINVAL));
  EXPECT_TRUE(Fails(Check(Call(Escape(0x2b, 40), 40)), Reason::kBadSize, EINVAL));
}

TEST(RequestCheckTest, TheStructMustBeAsLongAsTheCommandSays) {
  for (uint32_t sent : {0u, 8u, 15u, 17u, 4096u})
    EXPECT_TRUE(Fails(Check(Call(kFree, sent)), Reason::kBadSize, EINVAL)) << sent;
}

TEST(RequestCheckTest, ArraysAreAnyPositiveMultipleOfTheirElement) {
  for (uint32_t count : {1u, 2u, 32u}) {
    const uint32_t size_bytes = 72 * count;
    EXPECT_TRUE(Passes(Check(Call(Escape(kCardInfo, size_bytes), size_bytes)))) << count;
  }
  for (uint32_t size_bytes : {0u, 71u, 73u, 144u + 36})
    EXPECT_TRUE(Fails(Check(Call(Escape(kCardInfo, size_bytes), size_bytes)), Reason::kBadSize, EINVAL));
  EXPECT_TRUE(Fails(Check(Call(Escape(kCardInfo, 144), 72)), Reason::kBadSize, EINVAL));
}

TEST(RequestCheckTest, UvmNumbersAreUvmCallsOnUvmFilesOnly) {
  constexpr uint32_t kUvmFree = 0x22;
  EXPECT_TRUE(Passes(Check(Call(kUvmFree, 24), DeviceClass::kUvm)));
  EXPECT_TRUE(Fails(Check(Call(kUvmFree, 24), DeviceClass::kCtl), Reason::kUnknownEscape, EINVAL));
  EXPECT_TRUE(Fails(Check(Call(kFree, 16), DeviceClass::kUvm), Reason::kUnknownUvmCall, EINVAL));
  // The same number on both sides: 0x27 is RM_ALLOC_MEMORY or UVM_PAGEABLE_MEM_ACCESS.
  EXPECT_EQ(Check(Call(0x27, 8), DeviceClass::kUvm).spec->name, "UVM_PAGEABLE_MEM_ACCESS");
  // And 0x4a, VID_HEAP_CONTROL's, has no function to look at in UVM.
  EXPECT_TRUE(Fails(Check(Call(0x4a, 16), DeviceClass::kUvm), Reason::kUnknownUvmCall, EINVAL));
}

TEST(RequestCheckTest, UvmStructsAreOfTheirExactSize) {
  EXPECT_TRUE(Fails(Check(Call(0x22, 16), DeviceClass::kUvm), Reason::kBadSegments, EINVAL));
  EXPECT_TRUE(Fails(Check(Call(0x22), DeviceClass::kUvm), Reason::kBadSegments, EINVAL));
  EXPECT_TRUE(Passes(Check(Call(0x30000002), DeviceClass::kUvm)));  // UVM_DEINITIALIZE takes nothing
  EXPECT_TRUE(Fails(Check(Call(0x30000002, 8), DeviceClass::kUvm), Reason::kBadSegments, EINVAL));
}

// ---- Controls ----

TEST(RequestCheckTest, AControlWithItsParametersPasses) {
  const CheckedCall checked = Check(Control(0x201, 128));
  EXPECT_TRUE(Passes(checked));
  EXPECT_EQ(checked.nested->number, 0x201u);
  EXPECT_EQ(checked.nested_segment, 1u);
}

TEST(RequestCheckTest, UnknownControlsGetNotSupported) {
  const CheckedCall checked = Check(Control(0x20800103, 8));
  EXPECT_TRUE(Fails(checked, Reason::kUnknownControl, 0, NV_ERR_NOT_SUPPORTED));
  EXPECT_EQ(checked.refusal->number, 0x20800103u);
  EXPECT_NE(checked.spec, nullptr) << "the status needs a place";
}

TEST(RequestCheckTest, ControlParametersOfAnotherSizeAreRefused) {
  EXPECT_TRUE(Fails(Check(Control(0x201, 127)), Reason::kBadSize, 0, NV_ERR_INVALID_ARGUMENT));
  EXPECT_TRUE(Fails(Check(Control(0x201, 0)), Reason::kBadSize, 0, NV_ERR_INVALID_ARGUMENT));
  EXPECT_TRUE(
      Fails(Check(Control(0x201, 128).U32(0, 24, 127)), Reason::kBadSize, 0, NV_ERR_INVALID_ARGUMENT));
  EXPECT_TRUE(
      Fails(Check(Control(0x201, 120).U32(0, 24, 128)), Reason::kBadSize, 0, NV_ERR_INVALID_ARGUMENT));
}

TEST(RequestCheckTest, AControlWithoutParametersHasNone) {
  EXPECT_TRUE(Passes(Check(Control(kBindPmResources, 0))));
  EXPECT_TRUE(Fails(Check(Control(kBindPmResources, 8)), Reason::kBadSize, 0, NV_ERR_INVALID_ARGUMENT));
}

TEST(RequestCheckTest, SerializedParametersAreRefused) {
  EXPECT_TRUE(
      Fails(Check(Control(0x201, 128).U32(0, 12, 4)), Reason::kSerializedParams, 0, NV_ERR_INVALID_ARGUMENT));
  EXPECT_TRUE(Passes(Check(Control(0x201, 128).U32(0, 12, 3))));
  EXPECT_TRUE(Fails(Check(Alloc(kAlloc64, 0x80, 56).U32(0, 36, 1)), Reason::kSerializedParams, 0,
                    NV_ERR_INVALID_ARGUMENT));
  EXPECT_TRUE(Passes(Check(Alloc(kAlloc64, 0x80, 56).U32(0, 36, 2))));
}

// ---- Allocs ----

TEST(RequestCheckTest, BothFormsOfAllocPass) {
  for (uint32_t command : {kAlloc21, kAlloc64}) {
    const CheckedCall checked = Check(Alloc(command, 0x80, 56));
    EXPECT_TRUE(Passes(checked));
    EXPECT_EQ(checked.spec->size, abi::IocSize(command));
    EXPECT_EQ(checked.nested->name, "NV01_DEVICE_0");
  }
}

TEST(RequestCheckTest, UnknownClassesGetInvalidClass) {
  for (uint32_t rm_class : {0x71u, 0x81u, 0xffffffffu})
    EXPECT_TRUE(Fails(Check(Alloc(kAlloc21, rm_class, 0)), Reason::kUnknownClass, 0, NV_ERR_INVALID_CLASS));
}

TEST(RequestCheckTest, ParametersMayBeNullWhereTheClassAllows) {
  EXPECT_TRUE(Passes(Check(Alloc(kAlloc21, 0x80, 0))));
  EXPECT_TRUE(Passes(Check(Alloc(kAlloc21, 0x9096, 0))));  // has none
  EXPECT_TRUE(Fails(Check(Alloc(kAlloc21, 0x3e, 0)), Reason::kBadSize, 0, NV_ERR_INVALID_ARGUMENT));
}

TEST(RequestCheckTest, AllocParametersOfAnotherSizeAreRefused) {
  for (uint32_t size_bytes : {1u, 48u, 57u, 4096u})
    EXPECT_TRUE(Fails(Check(Alloc(kAlloc21, 0x80, size_bytes)), Reason::kBadSegments, EINVAL)) << size_bytes;
}

// Else the driver would take the length out of the guest's paramsSize, and the place out of the broker.
TEST(RequestCheckTest, AClassWithoutParametersGetsNoEmptyBuffer) {
  Call call = Alloc(kAlloc21, 0x9096, 0);
  call.U32(0, 24, 0x100000).Add(0, 0, 16);
  EXPECT_TRUE(Fails(Check(call), Reason::kBadSegments, EINVAL));
}

TEST(RequestCheckTest, OnlyTheLongFormHasRightsRequested) {
  EXPECT_TRUE(Passes(Check(Alloc(kAlloc64, 0x80, 56).Add(4, 0, 24))));
  EXPECT_TRUE(Fails(Check(Alloc(kAlloc64, 0x80, 56).Add(8, 0, 24)), Reason::kBadSegments, EINVAL));
  EXPECT_TRUE(Fails(Check(Alloc(kAlloc21, 0x80, 56).Add(4, 0, 24)), Reason::kBadSegments, EINVAL));
}

TEST(RequestCheckTest, MemoryIsAllocatedOfKnownClassesOnly) {
  EXPECT_TRUE(Passes(Check(Call(kAllocMemory, 56).U32(0, 12, 0x3e))));
  // Physical pages by list and by file.
  for (uint32_t rm_class : {0x81u, 0x82u, 0x83u, 0xc0u})
    EXPECT_TRUE(Fails(Check(Call(kAllocMemory, 56).U32(0, 12, rm_class)), Reason::kUnknownClass, 0,
                      NV_ERR_INVALID_CLASS));
}

TEST(RequestCheckTest, AnAddressOfTheGuestNeverReachesTheDriver) {
  Call call(kAllocMemory, 56);
  call.U32(0, 12, 0x71).U64(0, 24, 0x7fff00001000).Add(24, 0, 24);
  EXPECT_TRUE(Passes(Check(call)));
  EXPECT_EQ(Get<uint64_t>(call.Bytes(0), 24), 0u);
}

TEST(RequestCheckTest, HostMemoryIsAListOfPieces) {
  const auto host = [](uint32_t size_bytes) {
    return Call(kAllocMemory, 56).U32(0, 12, 0x71).Add(size_bytes, 0, 24);
  };
  EXPECT_TRUE(Passes(Check(host(24))));
  EXPECT_TRUE(Passes(Check(host(64 * 24))));
  EXPECT_TRUE(Fails(Check(host(25)), Reason::kBadSegments, EINVAL));
  EXPECT_TRUE(Fails(Check(host(65 * 24)), Reason::kBadSegments, EINVAL));
  EXPECT_TRUE(Fails(Check(host(24).Add(24, 0, 24)), Reason::kBadSegments, EINVAL)) << "one list";
  EXPECT_TRUE(Fails(Check(host(24).Add(24, 1, 0)), Reason::kBadSegments, EINVAL)) << "without pointers";
  EXPECT_TRUE(
      Fails(Check(Call(kAllocMemory, 56).U32(0, 12, 0x71)), Reason::kBadSegments, 0, NV_ERR_NOT_SUPPORTED))
      << "no list: memory out of reach";
  EXPECT_TRUE(
      Fails(Check(Call(kAllocMemory, 56).U32(0, 12, 0x3e).Add(24, 0, 24)), Reason::kBadSegments, EINVAL))
      << "a list for memory that is not the guest's";
}

TEST(RequestCheckTest, OnlyTheServedFunctionsOfTheHeapPass) {
  for (uint32_t function : {2u, 3u, 5u}) EXPECT_TRUE(Passes(Check(Call(kVidHeap, 184).U32(0, 8, function))));
  for (uint32_t function : {0u, 1u, 4u, 14u, 19u, 20u, 27u, 0xffffffffu})
    EXPECT_TRUE(Fails(Check(Call(kVidHeap, 184).U32(0, 8, function)), Reason::kUnknownFunction, 0,
                      NV_ERR_NOT_SUPPORTED));
}

// ---- Buffers behind pointers ----

TEST(RequestCheckTest, PointersOfTheGuestAreErased) {
  Call call = Control(kGetBuildVersion, 40);
  call.U64(0, 16, kPointer).U32(1, 0, 10);
  for (uint32_t offset : {8u, 16u, 24u}) call.U64(1, offset, kPointer).Add(10, 1, offset);
  EXPECT_TRUE(Passes(Check(call)));
  EXPECT_EQ(Get<uint64_t>(call.Bytes(0), 16), 0u);
  for (uint32_t offset : {8u, 16u, 24u}) EXPECT_EQ(Get<uint64_t>(call.Bytes(1), offset), 0u);
  EXPECT_EQ(Get<uint32_t>(call.Bytes(1), 0), 10u);
}

TEST(RequestCheckTest, APointerWithoutASegmentIsNull) {
  Call call = Control(kGetSurfaceInfo, 16);
  call.U32(1, 0, 5).U64(1, 8, kPointer);
  EXPECT_TRUE(Passes(Check(call)));
  EXPECT_EQ(Get<uint64_t>(call.Bytes(1), 8), 0u);
}

TEST(RequestCheckTest, ABufferIsAsLongAsItsCountSays) {
  EXPECT_TRUE(Passes(Check(Control(kGetSurfaceInfo, 16).U32(1, 0, 3).Add(24, 1, 8))));
  for (uint32_t size_bytes : {8u, 16u, 23u, 25u, 32u})
    EXPECT_TRUE(Fails(Check(Control(kGetSurfaceInfo, 16).U32(1, 0, 3).Add(size_bytes, 1, 8)),
                      Reason::kBadSegments, EINVAL));
}

TEST(RequestCheckTest, ACountOfZeroHasNoBuffer) {
  EXPECT_TRUE(Fails(Check(Control(kGetSurfaceInfo, 16).Add(8, 1, 8)), Reason::kBadSegments, EINVAL));
  EXPECT_TRUE(Fails(Check(Control(kGetSurfaceInfo, 16).Add(0, 1, 8)), Reason::kBadSegments, EINVAL));
  EXPECT_TRUE(Passes(Check(Control(kGetSurfaceInfo, 16))));
}

// 0x20000001 * 8 is 8 in 32 bits.
TEST(RequestCheckTest, CountsDoNotOverflow) {
  for (uint32_t count : {0x20000001u, 0x80000001u, 0xffffffffu, (1u << 17) + 1})
    EXPECT_TRUE(Fails(Check(Control(kGetSurfaceInfo, 16).U32(1, 0, count).Add(8, 1, 8)), Reason::kBadSize, 0,
                      NV_ERR_INVALID_ARGUMENT))
        << count;
  EXPECT_TRUE(Passes(Check(Control(kGetSurfaceInfo, 16).U32(1, 0, 1u << 17).Add(1u << 20, 1, 8))));
}

TEST(RequestCheckTest, AStringLongerThanTheDriversIsCutAndTheDriverToldSo) {
  Call call = Control(kGetBuildVersion, 40);
  call.U32(1, 0, 0xffffffff);
  for (uint32_t offset : {8u, 16u, 24u}) call.Add(256, 1, offset);
  EXPECT_TRUE(Passes(Check(call)));
  EXPECT_EQ(Get<uint32_t>(call.Bytes(1), 0), 256u);
}

TEST(RequestCheckTest, BytesThatAreNotAStringAreNotCut) {
  EXPECT_TRUE(Fails(Check(Control(kDebugReadMemory, 24).U32(1, 4, 0xffffffff).Add(1u << 20, 1, 16)),
                    Reason::kBadSize, 0, NV_ERR_INVALID_ARGUMENT));
  EXPECT_TRUE(Passes(Check(Control(kDebugReadMemory, 24).U32(1, 4, 1u << 20).Add(1u << 20, 1, 16))));
}

TEST(RequestCheckTest, TwoListsOfOneCountAreBothThatLong) {
  EXPECT_TRUE(Passes(Check(Control(kChannelList, 24).U32(1, 0, 2).Add(8, 1, 8).Add(8, 1, 16))));
  EXPECT_TRUE(Passes(Check(Control(kChannelList, 24).U32(1, 0, 2).Add(8, 1, 16))));
  EXPECT_TRUE(Fails(Check(Control(kChannelList, 24).U32(1, 0, 2).Add(8, 1, 8).Add(4, 1, 16)),
                    Reason::kBadSegments, EINVAL));
}

TEST(RequestCheckTest, APointerThatTheDriverNeverFollowsHasNoBuffer) {
  Call call(kVidHeap, 184);
  call.U32(0, 8, 2).U64(0, 120, kPointer);
  EXPECT_TRUE(Passes(Check(call)));
  EXPECT_EQ(Get<uint64_t>(call.Bytes(0), 120), 0u);
  EXPECT_TRUE(Fails(Check(Call(kVidHeap, 184).U32(0, 8, 2).Add(8, 0, 120)), Reason::kBadSegments, EINVAL));
}

// ---- Segments that no pointer explains ----

TEST(RequestCheckTest, UnexplainedSegmentsAreRefused) {
  const auto refused = [](Call call) { return Fails(Check(call), Reason::kBadSegments, EINVAL); };
  EXPECT_TRUE(refused(Call(kFree, 16).Add(8, 0, 8)));                            // an escape without pointers
  EXPECT_TRUE(refused(Control(0x201, 128).Add(8, 1, 0)));                        // a control without
  EXPECT_TRUE(refused(Control(0x201, 128).Add(8, 0, 8)));                        // not at the params pointer
  EXPECT_TRUE(refused(Control(kGetSurfaceInfo, 16).U32(1, 0, 1).Add(8, 1, 0)));  // not at its pointer
  EXPECT_TRUE(
      refused(Control(kGetSurfaceInfo, 16).U32(1, 0, 1).Add(8, 1, 8).Add(8, 2, 0)));  // below a buffer
  EXPECT_TRUE(refused(Control(kBindPmResources, 0).Add(8, 0, 0)));
  EXPECT_TRUE(refused(Alloc(kAlloc21, 0x80, 0).Add(8, 0, 24)));
}

TEST(RequestCheckTest, UvmCallsHaveOneSegment) {
  EXPECT_TRUE(Fails(Check(Call(0x22, 24).Add(8, 0, 0), DeviceClass::kUvm), Reason::kBadSegments, EINVAL));
  EXPECT_TRUE(Fails(Check(Call(0x22, 24).Add(8, 0, 16), DeviceClass::kUvm), Reason::kBadSegments, EINVAL));
}

TEST(RequestCheckTest, OnePointerHasOneSegment) {
  EXPECT_TRUE(Fails(Check(Control(0x201, 128).Add(128, 0, 16)), Reason::kBadSegments, EINVAL));
  EXPECT_TRUE(Fails(Check(Control(kGetSurfaceInfo, 16).U32(1, 0, 1).Add(8, 1, 8).Add(8, 1, 8)),
                    Reason::kBadSegments, EINVAL));
}

// The framing does not let these through; the check does not rely on that.
TEST(RequestCheckTest, ParentsThatRunInCirclesOrNowhereAreRefused) {
  const auto refused = [](Call call) { return Fails(Check(call), Reason::kBadSegments, EINVAL); };
  EXPECT_TRUE(refused(Control(0x201, 128).Add(8, 2, 0)));                    // its own parent
  EXPECT_TRUE(refused(Control(0x201, 128).Add(8, 3, 0).Add(8, 2, 0)));       // each other's
  EXPECT_TRUE(refused(Control(0x201, 128).Add(8, 77, 0)));                   // of none
  EXPECT_TRUE(refused(Control(0x201, 128).Add(8, 0xffffffff, 0xffffffff)));  // of none, nowhere
  EXPECT_TRUE(refused(Control(kGetSurfaceInfo, 16).U32(1, 0, 1).Add(8, 2, 8)));
}

TEST(RequestCheckTest, TheParametersMayComeAfterWhatTheyPointTo) {
  Call call(kControl, 32);
  call.U32(0, 8, kGetSurfaceInfo).U32(0, 24, 16).Add(8, 2, 8).Add(16, 0, 16).U32(2, 0, 1);
  const CheckedCall checked = Check(call);
  EXPECT_TRUE(Passes(checked));
  EXPECT_EQ(checked.nested_segment, 2u);
}

TEST(RequestCheckTest, WhatIsDeniedIsAsUnknownAsWhatIsInNoTable) {
  for (const abi::Table* table : abi::Tables()) {
    const auto check = [table](Call&& call) {
      return CheckRequest(*table, Verdicts::OfTable(*table), DeviceClass::kCtl, call).refusal;
    };
    for (const abi::Spec& escape : table->escapes)
      if (escape.withheld) {
        const auto refusal = check(Call(Escape(escape.number, escape.size), escape.size));
        ASSERT_TRUE(refusal.has_value()) << escape.name;
        EXPECT_EQ(refusal->reason, Reason::kDeniedByPolicy) << escape.name;
        EXPECT_EQ(refusal->error, EINVAL) << escape.name;
      }
    for (const abi::Spec& control : table->controls)
      if (control.withheld) {
        const auto refusal = check(Control(control.number, control.size));
        ASSERT_TRUE(refusal.has_value()) << control.name;
        EXPECT_EQ(refusal->reason, Reason::kDeniedByPolicy) << control.name;
        EXPECT_EQ(refusal->status, NV_ERR_NOT_SUPPORTED) << control.name;
      }
    for (const abi::Spec& rm_class : table->classes)
      if (rm_class.withheld) {
        const auto refusal = check(Alloc(kAlloc64, rm_class.number, rm_class.size));
        ASSERT_TRUE(refusal.has_value()) << rm_class.name;
        EXPECT_EQ(refusal->reason, Reason::kDeniedByPolicy) << rm_class.name;
        EXPECT_EQ(refusal->status, NV_ERR_INVALID_CLASS) << rm_class.name;
      }
  }
}

TEST(RequestCheckTest, AGssLegacyControlTakesAnySizeUpToItsCap) {
  constexpr uint32_t kUnlisted = 0x20808abc, kRoots = 0x2080cabc;
  const uint32_t cap = Table535().gss_legacy->size_max;
  for (uint32_t size : {0u, 1u, 88024u, cap}) EXPECT_TRUE(Passes(Check(Control(kUnlisted, size)))) << size;
  EXPECT_EQ(Check(Control(kUnlisted, cap + 1)).refusal->reason, Reason::kBadSize);
  EXPECT_EQ(Check(Control(kRoots, 8)).refusal->reason, Reason::kUnknownControl);
}

// Every spec of every version, with exactly what it takes.
TEST(RequestCheckTest, EveryOpaqueControlAndClassOfTheTablesPasses) {
  for (const abi::Table* table : abi::Tables()) {
    const auto passes = [table](Call&& call, DeviceClass device_class = DeviceClass::kCtl) {
      return Passes(CheckRequest(*table, Verdicts::OfTable(*table), device_class, call));
    };
    for (const abi::Spec& control : table->controls)
      if (control.pointers.size == 0 && !control.withheld) {
        EXPECT_TRUE(passes(Control(control.number, control.size))) << control.name;
      }
    for (const abi::Spec& rm_class : table->classes)
      if (!rm_class.withheld) {
        EXPECT_TRUE(passes(Alloc(kAlloc64, rm_class.number, rm_class.size))) << rm_class.name;
      }
    for (const abi::Spec& call : table->uvm)
      EXPECT_TRUE(passes(Call(call.number, call.size), DeviceClass::kUvm)) << call.name;
  }
}

}  // namespace
}  // namespace nvshim::broker
