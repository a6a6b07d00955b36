#include "broker/io/frame_codec.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "broker/io/region.h"
#include "broker/io/server_lane.h"

namespace nvshim::broker {
namespace {

constexpr uint32_t kLane = 0;
constexpr CallToken kToken{GuestId{1}, ProcessId{1}, kLane};

// A region, and the guest's mapping of it.
class FrameCodecTest : public ::testing::Test {
 protected:
  FrameCodecTest() : region_(*Region::Create()), lane_(region_, kLane) {
    base_ = static_cast<uint8_t*>(
        mmap(nullptr, wire::kRegionSizeBytes, PROT_READ | PROT_WRITE, MAP_SHARED, region_.memfd(), 0));
    wire::LaneHeader* header = wire::LaneOf(base_, kLane);
    requests_ = wire::RingProducer(wire::RequestRingOf(base_, kLane), wire::kRingSizeBytes,
                                   &header->request_tail, &header->request_head);
  }
  ~FrameCodecTest() override { munmap(base_, wire::kRegionSizeBytes); }

  static wire::FrameHeader Header(size_t body_size_bytes, size_t payload_size_bytes) {
    wire::FrameHeader header{};
    header.magic = wire::kFrameMagic;
    header.kind = wire::kFrameKindIoctl;
    header.body_size_bytes = static_cast<uint16_t>(body_size_bytes);
    header.payload_size_bytes = static_cast<uint32_t>(payload_size_bytes);
    return header;
  }

  ServerLane::Result Take(const wire::FrameHeader& header, const std::string& body,
                          size_t payload_size_bytes) {
    const std::string payload(payload_size_bytes, 'p');
    EXPECT_TRUE(requests_.Begin(static_cast<uint32_t>(sizeof(header) + body.size() + 8 + payload.size())));
    requests_.Write(&header, sizeof(header));
    requests_.Write(body.data(), static_cast<uint32_t>(body.size()));
    requests_.Pad();
    requests_.Write(payload.data(), static_cast<uint32_t>(payload.size()));
    requests_.Publish();
    return lane_.Take(&frame_);
  }

  bool Decodes(const IoctlRequest& request, size_t payload_size_bytes) {
    const std::string body = request.SerializeAsString();
    EXPECT_EQ(Take(Header(body.size(), payload_size_bytes), body, payload_size_bytes),
              ServerLane::Result::kFrame);
    return codec_.DecodeIoctl(frame_, kToken, region_, &event_, &places_);
  }

  static IoctlRequest Request(std::initializer_list<uint32_t> sizes_bytes) {
    IoctlRequest request;
    for (uint32_t size_bytes : sizes_bytes) request.add_segments()->set_size_bytes(size_bytes);
    return request;
  }

  Region region_;
  ServerLane lane_;
  uint8_t* base_;
  wire::RingProducer requests_;
  FrameCopy frame_;
  FrameCodec codec_;
  IoctlRequested event_;
  SegmentPlaces places_;
};

TEST_F(FrameCodecTest, TakesSegmentsInTheirOrder) {
  IoctlRequest request = Request({32, 5, 16});
  request.mutable_segments(1)->set_pointer_offset(24);
  request.mutable_segments(2)->set_pointer_offset(16);
  ASSERT_TRUE(Decodes(request, 56));
  ASSERT_EQ(event_.call_untrusted.segments.size(), 3u);
  EXPECT_EQ(event_.call_untrusted.segments[2].offset, 40u);
  EXPECT_EQ(event_.call_untrusted.Bytes(1)[4], 'p');
}

TEST_F(FrameCodecTest, RefusesBytesThatWereNotSent) {
  EXPECT_TRUE(Decodes(Request({32}), 32));
  EXPECT_FALSE(Decodes(Request({40}), 32));
  EXPECT_FALSE(Decodes(Request({32, 8}), 32));
}

TEST_F(FrameCodecTest, RefusesSegmentsThatAreTooLongOrEmpty) {
  IoctlRequest request = Request({32, wire::kSegmentSizeBytesMax});
  request.mutable_segments(1)->set_pool_offset_plus_one(1);
  EXPECT_TRUE(Decodes(request, 32));
  request.mutable_segments(1)->set_size_bytes(wire::kSegmentSizeBytesMax + 1);
  EXPECT_FALSE(Decodes(request, 32));
  EXPECT_FALSE(Decodes(Request({32, 0}), 32));
}

TEST_F(FrameCodecTest, RefusesPoolBytesOutsideOfThePool) {
  IoctlRequest request = Request({32, 64});
  request.mutable_segments(1)->set_pool_offset_plus_one(wire::kPoolSizeBytes - 64 + 1);
  EXPECT_TRUE(Decodes(request, 32));
  request.mutable_segments(1)->set_pool_offset_plus_one(wire::kPoolSizeBytes - 64 + 2);
  EXPECT_FALSE(Decodes(request, 32));
}

TEST_F(FrameCodecTest, RefusesAPointerOutsideOfItsParent) {
  IoctlRequest request = Request({32, 8});
  request.mutable_segments(1)->set_pointer_offset(24);
  EXPECT_TRUE(Decodes(request, 40));
  for (uint32_t offset : {25u, 32u, 0xfffffffcu}) {
    request.mutable_segments(1)->set_pointer_offset(offset);
    EXPECT_FALSE(Decodes(request, 40)) << offset;
  }
}

TEST_F(FrameCodecTest, RefusesAParentThatDoesNotComeBefore) {
  for (uint32_t parent : {1u, 2u, 0xffffffffu}) {
    IoctlRequest request = Request({32, 8});
    request.mutable_segments(1)->set_parent(parent);
    EXPECT_FALSE(Decodes(request, 40)) << parent;
  }
}

TEST_F(FrameCodecTest, RefusesMoreSegmentsOrFilesThanACallHas) {
  IoctlRequest request = Request({64});
  for (uint32_t i = 0; i < wire::kFilesPerCallMax; ++i) request.add_files();
  EXPECT_TRUE(Decodes(request, 128));
  request.add_files();
  EXPECT_FALSE(Decodes(request, 128));
  request = Request({64});
  for (uint32_t i = 0; i < wire::kSegmentsPerCallMax; ++i) request.add_segments()->set_size_bytes(8);
  EXPECT_FALSE(Decodes(request, 128));
}

TEST_F(FrameCodecTest, AHeaderThatLiesIsCorrupt) {
  const std::string body(8, '\0');
  wire::FrameHeader header = Header(8, 0);
  header.magic ^= 1;
  EXPECT_EQ(Take(header, body, 0), ServerLane::Result::kCorrupt);
}

TEST_F(FrameCodecTest, ABodyLargerThanABodyMayBeIsCorrupt) {
  const std::string body(2 * wire::kBodySizeBytesMax, '\0');
  EXPECT_EQ(Take(Header(body.size(), 0), body, 0), ServerLane::Result::kCorrupt);
}

TEST_F(FrameCodecTest, APayloadThatWasNotPublishedIsCorrupt) {
  EXPECT_EQ(Take(Header(8, 64), std::string(8, '\0'), 56), ServerLane::Result::kCorrupt);
}

TEST_F(FrameCodecTest, AReservedFieldIsZero) {
  wire::FrameHeader header = Header(8, 0);
  header.reserved1 = 1;
  EXPECT_EQ(Take(header, std::string(8, '\0'), 0), ServerLane::Result::kCorrupt);
}

}  // namespace
}  // namespace nvshim::broker
