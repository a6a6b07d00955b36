#include "broker/io/frame_codec.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "broker/io/region.h"
#include "broker/io/server_lane.h"
#include "proto/frame.pb.h"
// rapidcheck/gtest.h needs gtest.h before it.
#include "rapidcheck/gtest.h"

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
    responses_ = wire::RingConsumer(wire::ResponseRingOf(base_, kLane), wire::kRingSizeBytes,
                                    &header->response_head, &header->response_tail);
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
    const bool decoded = DecodeIoctl(frame_, lane_, kToken, region_, &event_, &places_);
    lane_.Finish();
    return decoded;
  }

  static IoctlRequest Request(std::initializer_list<uint32_t> sizes_bytes) {
    IoctlRequest request;
    for (uint32_t size_bytes : sizes_bytes) request.add_segments()->set_size_bytes(size_bytes);
    return request;
  }

  template <typename Message>
  void TakeReply(wire::FrameHeader* header, Message* message) {
    responses_.Available();
    RC_ASSERT(responses_.Read(header, sizeof(*header)));
    std::string body(wire::AlignUp8(header->body_size_bytes), '\0');
    RC_ASSERT(responses_.Read(body.data(), static_cast<uint32_t>(body.size())));
    body.resize(header->body_size_bytes);
    RC_ASSERT(message->ParseFromString(body));
  }

  Region region_;
  ServerLane lane_;
  uint8_t* base_;
  wire::RingProducer requests_;
  wire::RingConsumer responses_;
  FrameCopy frame_;
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

TEST_F(FrameCodecTest, RefusesBytesOfTheNextFrame) {
  const std::string body = Request({40}).SerializeAsString();
  ASSERT_EQ(Take(Header(body.size(), 32), body, 64), ServerLane::Result::kFrame);
  EXPECT_FALSE(DecodeIoctl(frame_, lane_, kToken, region_, &event_, &places_));
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

// ---- The messages are protobuf's ----

// Small, large and zero: each length of a number comes up.
rc::Gen<uint32_t> Number() {
  return rc::gen::oneOf(rc::gen::just(0u), rc::gen::inRange(1u, 300u), rc::gen::arbitrary<uint32_t>());
}

FrameCopy FrameOf(const std::string& body) {
  FrameCopy frame{};
  frame.header.body_size_bytes = static_cast<uint16_t>(body.size());
  std::copy(body.begin(), body.end(), frame.body.begin());
  return frame;
}

RC_GTEST_PROP(FrameCodecMessagesTest, AnOpenArrivesAsItWasSent, ()) {
  OpenRequest sent;
  sent.set_device_class(static_cast<nvshim::DeviceClass>(*rc::gen::inRange(0, 5)));
  sent.set_minor(*Number());
  sent.set_open_flags(*Number());
  OpenRequested event;
  RC_ASSERT(DecodeOpen(FrameOf(sent.SerializeAsString()), kToken, &event));
  RC_ASSERT(event.device_class_untrusted == static_cast<uint32_t>(sent.device_class()));
  RC_ASSERT(event.minor_untrusted == sent.minor());
  RC_ASSERT(event.flags_untrusted == sent.open_flags());
}

RC_GTEST_FIXTURE_PROP(FrameCodecTest, AnIoctlArrivesAsItWasSent, ()) {
  IoctlRequest sent = Request({64});
  sent.set_command(*Number());
  const auto count = *rc::gen::inRange(1u, wire::kSegmentsPerCallMax + 1);
  for (uint32_t i = 1; i < count; ++i) {
    auto* segment = sent.add_segments();
    segment->set_size_bytes(*rc::gen::inRange(1u, 64u) * 8);
    segment->set_parent(*rc::gen::inRange(0u, i));
    segment->set_pointer_offset(
        *rc::gen::inRange(0u, sent.segments(static_cast<int>(segment->parent())).size_bytes() - 7));
    segment->set_pool_offset_plus_one(*rc::gen::inRange(1u, 2000u));
  }
  const auto files = *rc::gen::inRange(0u, wire::kFilesPerCallMax + 1);
  for (uint32_t i = 0; i < files; ++i) {
    auto* file = sent.add_files();
    file->set_segment(*Number());
    file->set_field_offset(*Number());
    file->set_file_id(*Number());
  }
  RC_ASSERT(Decodes(sent, 64));
  const DriverCall& call = event_.call_untrusted;
  RC_ASSERT(call.command == sent.command());
  RC_ASSERT(call.segments.size() == count);
  for (uint32_t i = 0; i < count; ++i) {
    const Segment& segment = sent.segments(static_cast<int>(i));
    RC_ASSERT(call.segments[i].size_bytes == segment.size_bytes());
    RC_ASSERT(call.segments[i].parent == segment.parent());
    RC_ASSERT(call.segments[i].pointer_offset == segment.pointer_offset());
    RC_ASSERT(places_.pool_offset_plus_one[i] == segment.pool_offset_plus_one());
  }
  RC_ASSERT(event_.files_untrusted.size() == files);
  for (uint32_t i = 0; i < files; ++i) {
    const nvshim::FileReference& file = sent.files(static_cast<int>(i));
    RC_ASSERT(event_.files_untrusted[i].segment == file.segment());
    RC_ASSERT(event_.files_untrusted[i].field_offset == file.field_offset());
    RC_ASSERT(event_.files_untrusted[i].file_id == file.file_id());
  }
}

// What libprotobuf refuses is refused here. Flipped and truncated messages get further than random bytes.
RC_GTEST_FIXTURE_PROP(FrameCodecTest, NonsenseIsRefused, ()) {
  IoctlRequest sent = Request({32, 8});
  sent.set_command(*Number());
  sent.add_files()->set_file_id(*Number());
  std::string body = *rc::gen::element(sent.SerializeAsString(), *rc::gen::arbitrary<std::string>());
  for (const uint8_t flip : *rc::gen::container<std::vector<uint8_t>>(rc::gen::arbitrary<uint8_t>()))
    if (!body.empty()) body[flip % body.size()] = static_cast<char>(*rc::gen::arbitrary<uint8_t>());
  body.resize(std::min<size_t>(*rc::gen::inRange<size_t>(0, body.size() + 1), wire::kBodySizeBytesMax));
  RC_ASSERT(Take(Header(body.size(), 40), body, 40) == ServerLane::Result::kFrame);
  const bool accepted = DecodeIoctl(frame_, lane_, kToken, region_, &event_, &places_);
  IoctlRequest parsed;
  if (!parsed.ParseFromString(body)) RC_ASSERT(!accepted);
  if (accepted) RC_ASSERT(event_.call_untrusted.command == parsed.command());
}

RC_GTEST_FIXTURE_PROP(FrameCodecTest, RepliesAreTheProtocolsMessages, ()) {
  ReplyIoctl action{};
  action.sequence = *Number();
  action.error = *rc::gen::arbitrary<int32_t>();
  action.with_segments = *rc::gen::arbitrary<bool>();
  action.replace_segment = *Number();
  action.replace_field_offset = *Number();
  action.call.buffer.assign(40, 'x');
  action.call.segments = {{0, 32, 0, 0}, {32, 5, 0, 16}};
  const auto sent = *rc::gen::element(SentFile::kNone, SentFile::kFile, SentFile::kDoorbell);
  RC_ASSERT(WriteReply(lane_, region_, action, {}, sent));
  wire::FrameHeader header;
  IoctlReply reply;
  TakeReply(&header, &reply);
  RC_ASSERT(header.kind == wire::kFrameKindIoctlReply && header.sequence == action.sequence);
  RC_ASSERT(header.payload_size_bytes == (action.with_segments ? 40u : 0u));
  RC_ASSERT(reply.error() == action.error);
  RC_ASSERT(reply.copied_out() == action.with_segments);
  RC_ASSERT(reply.fds() == (sent == SentFile::kNone ? 0u : 1u));
  if (sent == SentFile::kNone) return;
  RC_ASSERT(reply.replace_segment() == action.replace_segment);
  RC_ASSERT(reply.replace_field_offset() == action.replace_field_offset);
  RC_ASSERT(reply.doorbell() == (sent == SentFile::kDoorbell));
}

}  // namespace
}  // namespace nvshim::broker
