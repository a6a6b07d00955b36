#include "preload/codec.h"

#include <protozero/pbf_reader.hpp>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "proto/frame.pb.h"
// rapidcheck/gtest.h needs gtest.h before it.
#include "rapidcheck/gtest.h"

namespace nvshim::preload {
namespace {

// The generated classes have the names of the hand-written structs; these are the generated ones.
namespace pb {
using nvshim::ChannelMessage;
using nvshim::IoctlReply;
using nvshim::IoctlRequest;
using nvshim::OpenReply;
using nvshim::OpenRequest;
}  // namespace pb

// Small, large and zero: each length of a varint comes up.
rc::Gen<uint32_t> Number() {
  return rc::gen::oneOf(rc::gen::just(0u), rc::gen::inRange(1u, 300u), rc::gen::arbitrary<uint32_t>(),
                        rc::gen::just(0xffffffffu));
}

rc::Gen<std::string> Text() { return rc::gen::container<std::string>(rc::gen::inRange(' ', '~')); }

Bytes AsBytes(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

std::string BytesOfChannelMessage(const pb::ChannelMessage& message) { return message.SerializeAsString(); }

RC_GTEST_PROP(CodecTest, AnIoctlRequestIsTheProtocolsMessage, ()) {
  std::vector<SegmentMessage> segments(*rc::gen::inRange<size_t>(0, wire::kSegmentsPerCallMax + 1));
  for (SegmentMessage& segment : segments) segment = {*Number(), *Number(), *Number(), *Number()};
  std::vector<FileReference> files(*rc::gen::inRange<size_t>(0, wire::kFilesPerCallMax + 1));
  for (FileReference& file : files) file = {*Number(), *Number(), *Number()};
  const uint32_t command = *Number();

  uint8_t bytes[wire::kBodySizeBytesMax];
  const size_t size_bytes = EncodeIoctlRequest(bytes, {command, segments, files});
  pb::IoctlRequest expected;
  expected.set_command(command);
  for (const SegmentMessage& segment : segments) {
    auto* added = expected.add_segments();
    added->set_size_bytes(segment.size_bytes);
    added->set_parent(segment.parent);
    added->set_pointer_offset(segment.pointer_offset);
    added->set_pool_offset_plus_one(segment.pool_offset_plus_one);
  }
  for (const FileReference& file : files) {
    auto* added = expected.add_files();
    added->set_segment(file.segment);
    added->set_field_offset(file.field_offset);
    added->set_file_id(file.file_id);
  }
  RC_ASSERT(std::string(reinterpret_cast<char*>(bytes), size_bytes) == expected.SerializeAsString());
}

// A second reader, written by others: what one implementation accepts by leniency the other may not.
RC_GTEST_PROP(CodecTest, AnIoctlRequestIsReadByProtozero, ()) {
  const SegmentMessage segment = {*Number(), *Number(), *Number(), *Number()};
  const uint32_t command = *Number();
  uint8_t bytes[wire::kBodySizeBytesMax];
  const size_t size_bytes = EncodeIoctlRequest(bytes, {command, {&segment, 1}, {}});
  uint32_t read_command = 0;
  uint32_t fields[4] = {};
  for (protozero::pbf_reader request(reinterpret_cast<char*>(bytes), size_bytes); request.next();) {
    if (request.tag() == 1) {
      read_command = request.get_uint32();
      continue;
    }
    RC_ASSERT(request.tag() == 2u);
    for (auto read = request.get_message(); read.next();) fields[(read.tag() - 1) % 4] = read.get_uint32();
  }
  RC_ASSERT(read_command == command);
  RC_ASSERT(fields[0] == segment.size_bytes && fields[1] == segment.parent);
  RC_ASSERT(fields[2] == segment.pointer_offset && fields[3] == segment.pool_offset_plus_one);
}

RC_GTEST_PROP(CodecTest, AnOpenRequestIsTheProtocolsMessage, ()) {
  const uint32_t device_class = *rc::gen::inRange(1u, 5u), minor = *Number(), flags = *Number();
  uint8_t bytes[64];
  const size_t size_bytes = EncodeOpenRequest(bytes, {device_class, minor, flags});
  pb::OpenRequest expected;
  expected.set_device_class(static_cast<nvshim::DeviceClass>(device_class));
  expected.set_minor(minor);
  expected.set_open_flags(flags);
  RC_ASSERT(std::string(reinterpret_cast<char*>(bytes), size_bytes) == expected.SerializeAsString());
}

TEST(CodecTest, AHelloIsTheProtocolsMessage) {
  uint8_t bytes[128];
  const size_t size_bytes = EncodeHello(bytes, 1, "a shim", 4711);
  pb::ChannelMessage message;
  ASSERT_TRUE(message.ParseFromArray(bytes, static_cast<int>(size_bytes)));
  EXPECT_EQ(message.hello().protocol_version(), 1u);
  EXPECT_EQ(message.hello().shim_version(), "a shim");
  EXPECT_EQ(message.hello().pid(), 4711u);
}

TEST(CodecTest, AVersionLabelIsCutToWhatTheProtocolAllows) {
  uint8_t bytes[128];
  const size_t size_bytes = EncodeHello(bytes, 1, std::string(1000, 'x'), 0);
  pb::ChannelMessage message;
  ASSERT_TRUE(message.ParseFromArray(bytes, static_cast<int>(size_bytes)));
  EXPECT_EQ(message.hello().shim_version().size(), 64u);
}

RC_GTEST_PROP(CodecTest, AnEncoderThatHasNoRoomSaysSo, ()) {
  std::vector<SegmentMessage> segments(3, {*Number(), *Number(), *Number(), *Number()});
  uint8_t bytes[wire::kBodySizeBytesMax];
  const size_t size_bytes = EncodeIoctlRequest(bytes, {7, segments, {}});
  const size_t room = *rc::gen::inRange<size_t>(0, size_bytes);
  RC_ASSERT(EncodeIoctlRequest(std::span(bytes).first(room), {7, segments, {}}) == 0u);
}

RC_GTEST_PROP(CodecTest, AWelcomeArrivesAsItWasSent, ()) {
  pb::ChannelMessage message;
  auto* sent = message.mutable_welcome();
  sent->set_process_id(*Number());
  sent->set_driver_version(*Text());
  sent->set_region_size_bytes(*rc::gen::arbitrary<uint64_t>());
  sent->set_uvm_major(*Number());
  sent->set_guest_instance(*rc::gen::arbitrary<uint64_t>());
  const auto gpus = *rc::gen::inRange(0, 9), files = *rc::gen::inRange(0, 9);
  for (int i = 0; i < gpus; ++i) {
    auto* gpu = sent->add_gpus();
    gpu->set_minor(*Number());
    gpu->set_uuid("GPU-0");
  }
  for (int i = 0; i < files; ++i) {
    auto* file = sent->add_files();
    file->set_path(*Text());
    file->set_contents(*rc::gen::arbitrary<std::string>());
  }
  const std::string datagram = BytesOfChannelMessage(message);
  Bytes inner;
  RC_ASSERT(DecodeChannelMessage(AsBytes(datagram), &inner) == ChannelKind::kWelcome);
  Welcome welcome;
  RC_ASSERT(DecodeWelcome(inner, &welcome));
  RC_ASSERT(welcome.process_id == sent->process_id());
  RC_ASSERT(welcome.driver_version == sent->driver_version());
  RC_ASSERT(welcome.region_size_bytes == sent->region_size_bytes());
  RC_ASSERT(welcome.uvm_major == sent->uvm_major());
  RC_ASSERT(welcome.guest_instance == sent->guest_instance());
  RC_ASSERT(welcome.gpu_count == static_cast<uint32_t>(gpus));
  for (int i = 0; i < gpus; ++i) RC_ASSERT(welcome.gpu_minors[i] == sent->gpus(i).minor());
  RC_ASSERT(welcome.file_count == static_cast<uint32_t>(files));
  for (int i = 0; i < files; ++i) {
    RC_ASSERT(welcome.files[i].path == sent->files(i).path());
    RC_ASSERT(welcome.files[i].contents == sent->files(i).contents());
  }
}

RC_GTEST_PROP(CodecTest, AnIoctlReplyArrivesAsItWasSent, ()) {
  pb::IoctlReply sent;
  sent.set_error(*rc::gen::arbitrary<int32_t>());
  sent.set_fds(*Number());
  sent.set_replace_segment(*Number());
  sent.set_replace_field_offset(*Number());
  sent.set_copied_out(*rc::gen::arbitrary<bool>());
  const std::string body = sent.SerializeAsString();
  IoctlReply reply;
  RC_ASSERT(DecodeIoctlReply(AsBytes(body), &reply));
  RC_ASSERT(reply.error == sent.error());
  RC_ASSERT(reply.fds == sent.fds());
  RC_ASSERT(reply.replace_segment == sent.replace_segment());
  RC_ASSERT(reply.replace_field_offset == sent.replace_field_offset());
  RC_ASSERT(reply.copied_out == sent.copied_out());
}

RC_GTEST_PROP(CodecTest, TheSmallRepliesArriveAsTheyWereSent, ()) {
  pb::OpenReply open;
  open.set_error(*rc::gen::arbitrary<int32_t>());
  open.set_file_id(*Number());
  open.set_fds(*Number());
  const std::string body = open.SerializeAsString();
  OpenReply open_reply;
  RC_ASSERT(DecodeOpenReply(AsBytes(body), &open_reply));
  RC_ASSERT(open_reply.error == open.error());
  RC_ASSERT(open_reply.file_id == open.file_id());
  RC_ASSERT(open_reply.fds == open.fds());

  pb::ChannelMessage message;
  message.mutable_fd_delivery()->set_lane(*Number());
  message.mutable_fd_delivery()->set_sequence(*Number());
  const std::string datagram = BytesOfChannelMessage(message);
  Bytes inner;
  FdDelivery delivery;
  RC_ASSERT(DecodeChannelMessage(AsBytes(datagram), &inner) == ChannelKind::kFdDelivery);
  RC_ASSERT(DecodeFdDelivery(inner, &delivery));
  RC_ASSERT(delivery.lane == message.fd_delivery().lane());
  RC_ASSERT(delivery.sequence == message.fd_delivery().sequence());
}

TEST(CodecTest, ARefusalKeepsItsReason) {
  pb::ChannelMessage message;
  message.mutable_refused()->set_error(EPROTO);
  message.mutable_refused()->set_reason("version 9 is not spoken here");
  message.mutable_refused()->set_protocol_version_max(3);
  const std::string datagram = BytesOfChannelMessage(message);
  Bytes inner;
  Refused refused;
  ASSERT_EQ(DecodeChannelMessage(AsBytes(datagram), &inner), ChannelKind::kRefused);
  ASSERT_TRUE(DecodeRefused(inner, &refused));
  EXPECT_EQ(refused.error, EPROTO);
  EXPECT_EQ(refused.reason, "version 9 is not spoken here");
}

// Whatever libprotobuf refuses is refused here; what it accepts is read without leaving the bytes (the
// sanitizers watch). Flipped and truncated messages get further into the decoders than random bytes.
RC_GTEST_PROP(CodecTest, NonsenseIsRefusedAndNeverOverread, ()) {
  pb::IoctlReply sent;
  sent.set_error(-1);
  sent.set_replace_field_offset(*Number());
  std::string body = *rc::gen::element(sent.SerializeAsString(), *rc::gen::arbitrary<std::string>());
  const auto flips = *rc::gen::container<std::vector<uint8_t>>(rc::gen::arbitrary<uint8_t>());
  for (const uint8_t flip : flips)
    if (!body.empty()) body[flip % body.size()] = static_cast<char>(*rc::gen::arbitrary<uint8_t>());
  if (!body.empty()) body.resize(*rc::gen::inRange<size_t>(0, body.size() + 1));
  const std::vector<uint8_t> exact(body.begin(), body.end());  // no spare byte behind the end
  IoctlReply reply;
  OpenReply open_reply;
  Welcome welcome;
  Bytes inner;
  const bool accepted = DecodeIoctlReply(exact, &reply);
  (void)DecodeOpenReply(exact, &open_reply);
  (void)DecodeWelcome(exact, &welcome);
  (void)DecodeChannelMessage(exact, &inner);
  pb::IoctlReply parsed;
  // Not the other way round: groups are protobuf, and no message of ours has them.
  if (!parsed.ParseFromString(body)) RC_ASSERT(!accepted);
}

TEST(CodecTest, FieldsOfALaterVersionAreSkipped) {
  pb::OpenReply sent;
  sent.set_file_id(77);
  std::string body = sent.SerializeAsString();
  body += std::string("\xfa\x01\x03xyz", 6);           // field 31, three bytes
  body += std::string("\xf5\x01\x01\x02\x03\x04", 6);  // field 30, fixed32
  OpenReply reply;
  ASSERT_TRUE(DecodeOpenReply(AsBytes(body), &reply));
  EXPECT_EQ(reply.file_id, 77u);
}

}  // namespace
}  // namespace nvshim::preload
