// Law: whatever a guest writes into its region, the broker neither crashes nor hangs nor grows, and other
// guests are served meanwhile. A real worker with the simulated driver runs on a thread of this process (so
// sanitizers watch it); the hostile guest overwrites header, cursors, frames and pool at random, from a
// printed seed. When the worker throws it out it comes back.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <random>

#include "testing/guest/raw_guest.h"
#include "testing/guest/worker_harness.h"

// Freed memory that ASan keeps back would look like growth: by default 256 MiB.
extern "C" const char* __asan_default_options();
extern "C" const char* __asan_default_options() { return "quarantine_size_mb=8"; }

namespace nvshim::testing {
namespace {

constexpr uint32_t kHostile = 1;
constexpr uint32_t kHonest = 2;

// Mutations of one run; NVSHIM_MUTATIONS asks for more.
int Mutations() {
  const char* wanted = std::getenv("NVSHIM_MUTATIONS");
  return wanted == nullptr ? 100'000 : std::atoi(wanted);
}

uint64_t Seed() {
  const char* wanted = std::getenv("NVSHIM_SEED");
  const uint64_t seed = wanted == nullptr ? std::random_device{}() : std::strtoull(wanted, nullptr, 0);
  std::printf("seed %llu (NVSHIM_SEED repeats it)\n", static_cast<unsigned long long>(seed));
  return seed;
}

// A hostile guest that knows the protocol well: half of what it writes is nearly right.
class Scribbler {
 public:
  explicit Scribbler(uint64_t seed) : random_(seed) {}

  void Mutate(RawGuest& guest) {
    switch (Below(8)) {
      case 0:
        return Anywhere(guest);
      case 1:
        return Cursor(guest);
      case 2:
        return HeaderOfRegion(guest);
      case 3:
        return Flood(guest);
      default:
        return NearlyRightFrame(guest);
    }
  }

 private:
  uint32_t Below(uint32_t bound) { return static_cast<uint32_t>(random_() % bound); }

  // Numbers that sit at the edges of checks.
  uint32_t Interesting() {
    static constexpr uint32_t kValues[] = {
        0,          1,          7,          8,         31,     32,      33,      0x100,
        0x1000,     0x7fff,     0x8000,     0x8001,    0xffff, 0x10000, 1 << 20, (2 << 20) - 8,
        0x7fffffff, 0x80000000, 0xfffffff8, 0xffffffff};
    return Below(3) == 0 ? static_cast<uint32_t>(random_()) : kValues[Below(std::size(kValues))];
  }

  void Anywhere(RawGuest& guest) {
    const uint64_t at = random_() % (wire::kRegionSizeBytes - 64);
    for (uint32_t i = 0, n = 1 + Below(64); i < n; ++i)
      guest.base()[at + i] = static_cast<uint8_t>(random_());
    guest.Ring(random_());
  }

  void Cursor(RawGuest& guest) {
    wire::LaneHeader* lane = wire::LaneOf(guest.base(), Below(wire::kLaneCount));
    std::atomic<uint32_t>* words[] = {&lane->request_tail, &lane->request_head, &lane->response_tail,
                                      &lane->response_head, &lane->guest_waiting};
    words[Below(5)]->store(Interesting());
    guest.Ring(random_());
  }

  void HeaderOfRegion(RawGuest& guest) {
    WriteRandom(guest.base(), sizeof(wire::RegionHeader));
    guest.Ring(~uint64_t{0});
  }

  void Flood(RawGuest& guest) {
    for (int i = 0; i < 16; ++i) guest.Ring(~uint64_t{0});
  }

  void WriteRandom(uint8_t* at, size_t size_bytes) {
    for (size_t i = 0; i < size_bytes; ++i) at[i] = static_cast<uint8_t>(random_());
  }

  std::vector<uint8_t> RandomBytes(uint32_t size_bytes) {
    std::vector<uint8_t> bytes(size_bytes);
    if (Below(2) == 0) WriteRandom(bytes.data(), bytes.size());
    return bytes;
  }

  void AddSegment(IoctlRequest& request, std::vector<uint8_t>& payload, uint32_t size_bytes, uint32_t parent,
                  uint32_t pointer_offset) {
    Segment* segment = request.add_segments();
    segment->set_size_bytes(Below(16) == 0 ? Interesting() : size_bytes);
    segment->set_parent(Below(16) == 0 ? Interesting() : parent);
    segment->set_pointer_offset(Below(16) == 0 ? Interesting() : pointer_offset);
    if (Below(8) == 0) segment->set_pool_offset_plus_one(Interesting());
    const auto bytes = RandomBytes(wire::AlignUp8(std::min(size_bytes, 4096u)));
    payload.insert(payload.end(), bytes.begin(), bytes.end());
  }

  // RM_CONTROL or RM_ALLOC with numbers that exist, and parameters that may not fit them.
  std::string Request(std::vector<uint8_t>& payload) {
    static constexpr uint32_t kControls[] = {0x101,      0x202,    0x214,     0x20801201,
                                             0x20800802, 0x80170d, 0x20801303};
    IoctlRequest request;
    request.set_command(Below(4) == 0 ? Interesting() : Below(2) == 0 ? kIoctlRmControl : kIoctlRmAlloc);
    const size_t at = payload.size();
    AddSegment(request, payload, 32, 0, 0);
    if (payload.size() - at >= 32) {
      std::vector<uint8_t> top(payload.begin() + static_cast<long>(at), payload.end());
      WriteAt<uint32_t>(top, 0, 0xc1d00000 + Below(3));
      WriteAt<uint32_t>(top, 4, 0xc1d00000 + Below(3));
      WriteAt<uint32_t>(top, 8, kControls[Below(std::size(kControls))]);
      WriteAt<uint32_t>(top, 12, Below(2) == 0 ? 0 : 0x80);
      WriteAt<uint32_t>(top, 24, Interesting());
      std::copy(top.begin(), top.end(), payload.begin() + static_cast<long>(at));
    }
    for (uint32_t i = 0, n = Below(4); i < n; ++i) AddSegment(request, payload, 8 * (1 + Below(64)), i, 16);
    for (uint32_t i = 0, n = Below(3); i < n; ++i) {
      FileReference* file = request.add_files();
      file->set_file_id(0x1000 + Below(4));
      file->set_field_offset(Interesting());
    }
    return request.SerializeAsString();
  }

  void NearlyRightFrame(RawGuest& guest) {
    std::vector<uint8_t> payload;
    wire::FrameHeader header{};
    std::string body;
    if (Below(8) == 0) {
      OpenRequest request;
      request.set_device_class(static_cast<DeviceClass>(Below(6)));
      request.set_minor(Below(3));
      body = request.SerializeAsString();
      header.kind = wire::kFrameKindOpen;
    } else {
      body = Request(payload);
      header.kind = wire::kFrameKindIoctl;
    }
    header.magic = wire::kFrameMagic;
    header.body_size_bytes = static_cast<uint16_t>(body.size());
    header.payload_size_bytes = static_cast<uint32_t>(payload.size());
    header.file_id = 0x1000 + Below(4);
    std::vector<uint8_t> frame(sizeof(header));
    std::memcpy(frame.data(), &header, sizeof(header));
    frame.insert(frame.end(), body.begin(), body.end());
    frame.resize(wire::AlignUp8(static_cast<uint32_t>(frame.size())));
    frame.insert(frame.end(), payload.begin(), payload.end());
    if (Below(4) == 0)
      frame[Below(static_cast<uint32_t>(frame.size()))] ^= static_cast<uint8_t>(1 << Below(8));
    if (Below(32) == 0) frame.resize(wire::AlignUp8(Below(static_cast<uint32_t>(frame.size()) + 1)));
    guest.Publish(Below(wire::kLaneCount), frame);
  }

  std::mt19937_64 random_;
};

// Takes what the worker sent on the channel, as a guest that wants to go on must; descriptors are closed.
void DrainChannel(RawGuest& guest) {
  for (;;) {
    pollfd entry{guest.channel(), POLLIN, 0};
    if (poll(&entry, 1, 0) != 1) return;
    iovec part{};
    char bytes[256];
    part = {bytes, sizeof(bytes)};
    alignas(cmsghdr) char control[CMSG_SPACE(4 * sizeof(int))];
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    if (recvmsg(guest.channel(), &message, MSG_DONTWAIT) <= 0) return;
    for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
         header = CMSG_NXTHDR(&message, header)) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(header), sizeof(fd));
      close(fd);
    }
  }
}

long ResidentKiB() {
  long pages = 0;
  long resident = 0;
  FILE* file = std::fopen("/proc/self/statm", "r");
  if (file == nullptr || std::fscanf(file, "%ld %ld", &pages, &resident) != 2) resident = 0;
  if (file != nullptr) std::fclose(file);
  return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

TEST(ScribbleTest, NothingWrittenIntoTheRegionHurtsTheBrokerOrAnotherGuest) {
  WorkerHarness worker;
  auto honest = worker.NewProcess(kHonest);
  ASSERT_NE(honest, nullptr);
  const auto file = honest->Open(DEVICE_CLASS_CTL);
  ASSERT_TRUE(file && file->error == 0);
  const auto client = AllocClient(*honest, file->file_id);
  ASSERT_TRUE(client && client->status == 0);

  Scribbler scribbler(Seed());
  std::unique_ptr<RawGuest> hostile;
  int attached = 0;
  const int mutations = Mutations();
  long resident_kib_early = 0;
  for (int i = 0; i < mutations; ++i) {
    if (hostile == nullptr || hostile->HungUp()) {
      hostile = worker.NewProcess(kHostile);
      ASSERT_NE(hostile, nullptr);
      ++attached;
      // Some runs begin with files and a client, so that frames get past the first checks.
      if (attached % 2 == 0) {
        const auto opened = hostile->Open(DEVICE_CLASS_CTL);
        ASSERT_TRUE(opened);
        AllocClient(*hostile, opened->file_id);
        if (attached % 4 != 0) close(opened->fd);
      }
    }
    scribbler.Mutate(*hostile);
    if (i % 64 == 0) DrainChannel(*hostile);
    if (i % 1000 == 0) {
      std::vector<uint8_t> params(256);
      ASSERT_EQ(Control(*honest, file->file_id, client->handle, client->handle, 0x214, params), 0u)
          << "after mutation " << i;
    }
    if (i == mutations / 5) resident_kib_early = ResidentKiB();
  }
  const long grown_kib = ResidentKiB() - resident_kib_early;
  std::printf("%d mutations, %d attachments, %ld KiB grown over the last four fifths\n", mutations, attached,
              grown_kib);
  EXPECT_LT(grown_kib, 64 << 10) << "memory grows with what a hostile guest does";
  hostile.reset();
  honest.reset();
  close(file->fd);
}

TEST(ScribbleTest, ASealedRegionCannotBeResizedAndHolesAreOnlyZeros) {
  WorkerHarness worker;
  auto guest = worker.NewProcess(kHostile);
  ASSERT_NE(guest, nullptr);
  EXPECT_EQ(ftruncate(guest->memfd(), 4096), -1);
  EXPECT_EQ(ftruncate(guest->memfd(), wire::kRegionSizeBytes * 2), -1);
  EXPECT_EQ(fcntl(guest->memfd(), F_ADD_SEALS, F_SEAL_WRITE), -1) << "the guest could make the broker fault";
  for (int i = 0; i < 200; ++i) {
    ASSERT_EQ(
        fallocate(guest->memfd(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, wire::kRegionSizeBytes), 0);
    guest->Ring(~uint64_t{0});
    if (guest->HungUp()) {
      guest = worker.NewProcess(kHostile);
      ASSERT_NE(guest, nullptr);
    }
  }
  EXPECT_EQ(worker.Statistics().guests_size(), 1);
}

}  // namespace
}  // namespace nvshim::testing
