// What the threads of guests do on their lanes.
#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "proto/frame.pb.h"
#include "testing/sim_world/sim_world.h"

namespace nvshim::testing {

using namespace nvshim::broker;  // the subject

namespace {

// Between two calls of a thread, and from a frame's publication to the worker's look at it.
constexpr uint32_t kThinkNs = 10'000, kWakeNs = 5'000;

// From here on segments of a frame go through the region's pool, in the part of it that is the lane's.
constexpr uint32_t kPoolFromBytes = 2048;
constexpr uint32_t kPoolPerLaneBytes = wire::kPoolSizeBytes / GuestRegion::kLanes;

// Where the lane's part of the pool begins.
uint32_t PoolOf(uint32_t lane) { return lane * kPoolPerLaneBytes; }

// The place in the pool of a segment, from `*at` on; nothing when it goes with the frame.
std::optional<uint32_t> TakePool(uint32_t lane, uint32_t size_bytes, uint32_t* at) {
  if (size_bytes < kPoolFromBytes || *at + wire::AlignUp8(size_bytes) > PoolOf(lane + 1)) return std::nullopt;
  return std::exchange(*at, *at + wire::AlignUp8(size_bytes));
}

// Whether the worker takes such a frame: every pointer lies inside its parent.
bool IsFramed(const DriverCall& call) {
  for (size_t i = 1; i < call.segments.size(); ++i)
    if (call.segments[i].pointer_offset + 8 > call.segments[call.segments[i].parent].size_bytes ||
        call.segments[i].size_bytes == 0)
      return false;
  return true;
}

std::string Name(const BareWorker::ProcessKey& key, uint32_t lane) {
  return std::to_string(static_cast<uint32_t>(key.first)) + "/" +
         std::to_string(static_cast<uint32_t>(key.second)) + "/" + std::to_string(lane);
}

}  // namespace

SimWorld::Process* SimWorld::Find(const ProcessKey& key) {
  const auto it = processes_.find(key);
  return it == processes_.end() ? nullptr : &it->second;
}

SimWorld::Thread* SimWorld::ThreadOf(const CallToken& token) {
  Process* process = Find({token.guest, token.process});
  return process == nullptr ? nullptr : &process->threads[token.lane];
}

// An honest thread sleeps until its answer is there; a wild one looks when it likes.
void SimWorld::Wake(const CallToken& token) {
  if (ThreadOf(token) == nullptr || tenants_[token.guest].wild) return;
  const ProcessKey key{token.guest, token.process};
  clock_.After(Soon(kWakeNs), [this, key, lane = token.lane] { RunThread(key, lane); });
}

void SimWorld::RunThread(const ProcessKey& key, uint32_t lane) {
  Process* process = Find(key);
  if (process == nullptr) return;
  TakeReply(key, lane);
  if (tenants_[key.first].wild) {
    if (ending_) return;
    ActWild(key, lane);
  } else if (!ending_ && process->threads[lane].asked.empty()) {
    ActHonest(key, lane);
  } else {
    return;
  }
  process = Find(key);
  if (process != nullptr && (tenants_[key.first].wild || process->threads[lane].asked.empty()))
    clock_.After(Soon(kThinkNs), [this, key, lane] { RunThread(key, lane); });
}

void SimWorld::ActHonest(const ProcessKey& key, uint32_t lane) {
  Thread& thread = Find(key)->threads[lane];
  if (random_.OneIn(50)) PassOn({key.first, thread.program.ctl()});
  Call call;
  const bool calls = thread.program.Next(random_, &call);
  for (FileId file : thread.program.TakeClosed()) LetGo({key.first, file}, key.second);
  if (calls) Publish(key, lane, std::move(call));
}

// Mostly one of its guest's; now and then anybody's, or none.
FileId SimWorld::SomeFile(const ProcessKey& key) {
  std::vector<FileId> files;
  const bool any = random_.OneIn(8);
  for (const auto& [file, open] : files_)
    if (any || (file.first == key.first && open.holders.contains(key.second))) files.push_back(file.second);
  if (files.empty() || random_.OneIn(40)) return FileId{random_.Below(0x8000)};
  return files[random_.Below(static_cast<uint32_t>(files.size()))];
}

void SimWorld::ActWild(const ProcessKey& key, uint32_t lane) {
  Process& process = *Find(key);
  const uint32_t kind = random_.Below(256);
  const FileId file = SomeFile(key);
  if (kind == 0) return Scribble(process);
  if (kind == 1) return PublishNonsense(process, lane);
  if (kind < 10) return LetGo({key.first, file}, key.second);
  if (kind < 16) return PassOn({key.first, file});
  if (!process.threads[lane].asked.empty() && !random_.OneIn(8)) return;
  Call call;
  call.file = file;
  const auto open = files_.find({key.first, file});
  if (open == files_.end() || kind < 32) {
    call.opens = true;
    call.device_class = static_cast<broker::DeviceClass>(
        random_.OneIn(10) ? random_.Below(7) : 1 + random_.Below(2) * random_.Below(3));
    call.minor = random_.OneIn(10) ? random_.Below(3) : 0;
    call.flags = random_.OneIn(4) ? random_.Below(1 << 24) : kReadWrite;
    return Publish(key, lane, std::move(call));
  }
  call.device_class = open->second.device_class;
  Hints hints;
  for (int i = 0; i < 4; ++i) hints.files.push_back(static_cast<uint32_t>(SomeFile(key)));
  const bool any = random_.OneIn(4);
  for (const auto& [one, its] : files_)
    if (any || one == open->first)
      hints.clients.insert(hints.clients.end(), its.clients.begin(), its.clients.end());
  RandomRequest request = MakeRandomRequest(random_, laws_.table(), call.device_class, hints);
  // One that is not ends the process: seldom, so that they live to meet.
  if (!IsFramed(request.call) && !random_.OneIn(32)) return;
  call.call = std::move(request.call);
  call.files = std::move(request.files);
  Publish(key, lane, std::move(call));
}

// ---- Frames ----

void SimWorld::Publish(const ProcessKey& key, uint32_t lane, Call call) {
  Process& process = *Find(key);
  Thread& thread = process.threads[lane];
  wire::FrameHeader header{};
  header.sequence = ++last_sequence_;
  std::string body;
  std::vector<uint8_t> payload;
  if (call.opens) {
    OpenRequest request;
    request.set_device_class(static_cast<::nvshim::DeviceClass>(call.device_class));
    request.set_minor(call.minor);
    request.set_open_flags(call.flags);
    header.kind = wire::kFrameKindOpen;
    body = request.SerializeAsString();
  } else {
    IoctlRequest request;
    request.set_command(call.call.command);
    uint32_t pool_at = PoolOf(lane);
    for (uint32_t i = 0; i < call.call.segments.size(); ++i) {
      const CallSegment& one = call.call.segments[i];
      const auto bytes = call.call.Bytes(i);
      Segment* segment = request.add_segments();
      segment->set_size_bytes(one.size_bytes);
      segment->set_parent(one.parent);
      segment->set_pointer_offset(one.pointer_offset);
      if (const auto in_pool = TakePool(lane, one.size_bytes, &pool_at)) {
        segment->set_pool_offset_plus_one(*in_pool + 1);
        std::copy(bytes.begin(), bytes.end(), wire::PoolOf(process.region->base()) + *in_pool);
      } else {
        payload.insert(payload.end(), bytes.begin(), bytes.end());
        payload.resize(wire::AlignUp8(static_cast<uint32_t>(payload.size())));
      }
    }
    for (const FileReferenceUntrusted& file : call.files) {
      FileReference* reference = request.add_files();
      reference->set_segment(file.segment);
      reference->set_field_offset(file.field_offset);
      reference->set_file_id(file.file_id);
    }
    header.kind = wire::kFrameKindIoctl;
    header.file_id = static_cast<uint32_t>(call.file);
    body = request.SerializeAsString();
  }
  if (!process.region->Publish(lane, header, body, payload)) return;
  ++tally_.calls;
  Note(Name(key, lane) + (call.opens ? " opens " : " calls ") +
       std::to_string(call.opens ? static_cast<uint32_t>(call.device_class) : call.call.command) +
       " on file " + std::to_string(static_cast<uint32_t>(call.file)) + ", number " +
       std::to_string(header.sequence));
  if (!tenants_[key.first].wild) asked_[{key, lane}] = call;
  thread.overlaps = !thread.asked.empty();
  thread.asked.push_back({header.sequence, std::move(call)});
  thread.failed = thread.over_quota = false;
  if (std::exchange(process.turn_is_due, true)) return;
  clock_.After(Soon(kWakeNs), [this, key] { TakeTurn(key); });
}

void SimWorld::PublishNonsense(Process& process, uint32_t lane) {
  wire::FrameHeader header{};
  header.kind = static_cast<uint16_t>(random_.Below(4));
  header.sequence = random_.Below(8);
  header.file_id = random_.Below(8);
  std::string body(random_.Below(64), '\0');
  for (char& byte : body) byte = static_cast<char>(random_.Below(256));
  std::vector<uint8_t> payload(random_.Below(64));
  for (uint8_t& byte : payload) byte = static_cast<uint8_t>(random_.Below(256));
  process.has_scribbled = true;
  process.region->Publish(lane, header, body, payload);
}

// Over what its process shares with the worker: the header, the lanes that are used, the pool's beginning.
void SimWorld::Scribble(Process& process) {
  process.has_scribbled = true;
  const uint32_t kind = random_.Below(4);
  const uint64_t lane =
      wire::kLanesOffset + uint64_t{random_.Below(GuestRegion::kLanes)} * wire::kLaneStrideBytes;
  const uint64_t at = kind == 0   ? random_.Below(sizeof(wire::RegionHeader))
                      : kind == 1 ? lane + random_.Below(sizeof(wire::LaneHeader))
                      : kind == 2 ? lane + wire::kRingsOffsetInLane + random_.Below(2 * wire::kRingSizeBytes)
                                  : wire::kPoolOffset + random_.Below(wire::kPageSizeBytes);
  for (uint32_t i = random_.Below(32); i > 0; --i)
    process.region->base()[at + i] = static_cast<uint8_t>(random_.Below(256));
}

void SimWorld::TakeReply(const ProcessKey& key, uint32_t lane) {
  Process& process = *Find(key);
  Thread& thread = process.threads[lane];
  const auto reply = process.region->TakeReply(lane);
  if (!reply) return;
  Note(Name(key, lane) + " reads the answer to " + std::to_string(reply->header.sequence));
  if (process.has_scribbled) return thread.asked.clear();
  // Of two calls on a lane at a time the second is none.
  const auto asked = std::find_if(thread.asked.begin(), thread.asked.end(),
                                  [&](const Asked& one) { return one.sequence == reply->header.sequence; });
  if (asked == thread.asked.end()) return Break("an answer to nothing that was asked");
  const Call call = std::move(asked->call);
  thread.asked.erase(thread.asked.begin(), asked + 1);
  if (!thread.overlaps) Take(key, lane, call, *reply);
}

void SimWorld::Take(const ProcessKey& key, uint32_t lane, const Call& asked,
                    const GuestRegion::Reply& reply) {
  Thread& thread = Find(key)->threads[lane];
  Answer answer;
  answer.call = asked.call;
  if (asked.opens) {
    OpenReply open;
    Expect(reply.header.kind == wire::kFrameKindOpenReply && open.ParseFromString(reply.body),
           "no OpenReply");
    answer.error = open.error();
    answer.file = static_cast<FileId>(open.file_id());
  } else {
    IoctlReply ioctl;
    Expect(reply.header.kind == wire::kFrameKindIoctlReply && ioctl.ParseFromString(reply.body),
           "no IoctlReply");
    answer.error = ioctl.error();
    answer.with_fd = ioctl.fds() != 0;
    answer.with_segments = ioctl.copied_out();
    if (answer.with_segments) ReadSegments(*Find(key), lane, reply.payload, &answer.call);
    if (!problem_.empty()) return;
    if (answer.with_segments) {
      const std::string problem = laws_.WrongInAnswer(asked.device_class, asked.call, answer.call);
      if (!problem.empty()) return Break(problem);
    }
  }
  if (tenants_[key.first].wild) return;
  tally_.over_quota += thread.over_quota;
  const std::string problem = thread.program.Take(answer, thread.failed, thread.over_quota);
  for (FileId file : thread.program.TakeClosed()) LetGo({key.first, file}, key.second);
  if (!problem.empty()) Break(problem);
}

// The bytes of an answer, from the places where those of the request lay.
void SimWorld::ReadSegments(const Process& process, uint32_t lane, const std::string& payload,
                            DriverCall* call) {
  uint32_t at = 0, pool_at = PoolOf(lane);
  for (uint32_t i = 0; i < call->segments.size(); ++i) {
    const auto to = call->Bytes(i);
    const auto size_bytes = static_cast<uint32_t>(to.size());
    if (const auto in_pool = TakePool(lane, size_bytes, &pool_at)) {
      std::memcpy(to.data(), wire::PoolOf(process.region->base()) + *in_pool, size_bytes);
      continue;
    }
    if (at + wire::AlignUp8(size_bytes) > payload.size()) return Break("an answer shorter than the request");
    std::memcpy(to.data(), payload.data() + at, size_bytes);
    at += wire::AlignUp8(size_bytes);
  }
  Expect(at == payload.size(), "an answer longer than the request");
}

}  // namespace nvshim::testing
